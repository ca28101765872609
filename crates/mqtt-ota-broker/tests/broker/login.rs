use mqtt_ota_broker::{Broker, BrokerConfig, Credentials};
use rumqttc::{ConnectReturnCode, ConnectionError};

use crate::peer::{Peer, config};

#[tokio::test]
async fn only_the_right_user_and_password_get_in() {
    let credentials = Some(Credentials::new("me", "sécret").unwrap());
    let broker = Broker::start(BrokerConfig { credentials, ..config() }).await.unwrap();
    for login in [None, Some(("me", "wrong")), Some(("you", "sécret")), Some(("me", ""))] {
        let mut options = Peer::options(&broker, "desk");
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        let refused = Peer::with(options).await.err();
        assert!(
            matches!(refused, Some(ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized))),
            "{login:?}: {refused:?}"
        );
    }
    let mut options = Peer::options(&broker, "desk");
    options.set_credentials("me", "sécret");
    let mut peer = Peer::with(options).await.unwrap();
    peer.publish("desk/OTA", false, "x").await;
}

#[tokio::test]
async fn a_login_that_nobody_asked_for_does_no_harm() {
    let broker = Broker::start(config()).await.unwrap();
    let mut options = Peer::options(&broker, "desk");
    options.set_credentials("me", "x");
    Peer::with(options).await.unwrap();
}
