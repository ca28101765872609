use std::net::TcpListener;

use mqtt_ota_broker::{Broker, BrokerConfig, BrokerError};
use tokio::time::timeout;

use crate::peer::{GUARD, Peer, assert_alive, broker, config};

#[tokio::test]
async fn port_0_becomes_a_port_that_clients_can_use_at_once() {
    let broker = broker().await;
    assert_ne!(broker.address().port(), 0);
    assert_alive(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_beside_a_caller_with_many_threads() {
    let broker = broker().await;
    assert_alive(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_stopped_broker_leaves_its_port_free_ten_times_in_a_row() {
    let first = broker().await;
    let listen = first.address();
    assert_alive(&first).await;
    first.stop().await;
    for round in 0..10 {
        let config = BrokerConfig { listen, ..config() };
        let broker = Broker::start(config).await.unwrap_or_else(|e| panic!("round {round}: {e:?}"));
        assert_eq!(broker.address(), listen);
        let _still_connected = Peer::connect(&broker, "desk").await;
        assert_alive(&broker).await;
        timeout(GUARD, broker.stop()).await.unwrap();
        TcpListener::bind(listen).unwrap();
    }
}

#[tokio::test]
async fn a_stop_ends_the_connections() {
    let broker = broker().await;
    let mut peer = Peer::connect(&broker, "desk").await;
    broker.stop().await;
    assert!(timeout(GUARD, peer.events.poll()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_dropped_broker_stops() {
    let broker = broker().await;
    let mut peer = Peer::connect(&broker, "desk").await;
    drop(broker);
    assert!(timeout(GUARD, peer.events.poll()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_port_of_another_broker_is_an_error_with_a_hint() {
    let first = broker().await;
    let error = Broker::start(BrokerConfig { listen: first.address(), ..config() }).await.unwrap_err();
    assert!(matches!(&error, BrokerError::PortTaken { address, .. } if *address == first.address()));
    assert_eq!(error.to_string(), format!("cannot listen on {}: the port is taken", first.address()));
    assert!(error.hint().contains("another broker"));
    assert_alive(&first).await;
}

#[tokio::test]
async fn a_port_that_another_has_on_every_address_is_an_error() {
    let other = TcpListener::bind("0.0.0.0:0").unwrap();
    let listen = ([127, 0, 0, 1], other.local_addr().unwrap().port()).into();
    let error = Broker::start(BrokerConfig { listen, ..config() }).await.unwrap_err();
    assert!(matches!(error, BrokerError::PortTaken { .. }), "{error:?}");
}

#[tokio::test]
async fn an_address_of_another_machine_is_an_error_with_a_hint() {
    let listen = "192.0.2.1:1883".parse().unwrap();
    let error = Broker::start(BrokerConfig { listen, ..config() }).await.unwrap_err();
    assert!(matches!(error, BrokerError::Bind { .. }), "{error:?}");
    assert!(error.hint().contains("address of this machine"));
}

#[tokio::test]
async fn every_address_of_the_machine_can_be_listened_on() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let broker = Broker::start(BrokerConfig { listen, ..config() }).await.unwrap();
    assert!(broker.address().ip().is_unspecified());
    broker.stop().await;
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_the_port_free() {
    let first = broker().await;
    let listen = first.address();
    first.stop().await;
    let config = BrokerConfig { listen, ..config() };
    {
        let mut start = std::pin::pin!(Broker::start(config.clone()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(start.as_mut().poll(&mut context).is_pending());
    }
    let again = async {
        loop {
            match Broker::start(config.clone()).await {
                Ok(broker) => break broker,
                Err(BrokerError::PortTaken { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    timeout(GUARD, again).await.unwrap().stop().await;
}
