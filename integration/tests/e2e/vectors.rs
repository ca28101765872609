//! One file of good and bad offers, for everybody who reads offers: the library, and the companion client
//! on MicroPython and on CPython.

use std::path::Path;
use std::process::Command;

use mqtt_ota::wire::{AnyOffer, AnyOfferError, Content, ExtendedOfferError, Offer, OfferError};
use mqtt_ota_integration::Interpreter;
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../vectors/offers.json");
const EXTENDED: &str = include_str!("../../vectors/extended.json");

#[test]
fn the_library_reads_the_shared_vectors() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    for mut vector in vectors {
        // What a device says to it that has no BLAKE3.
        vector.as_object_mut().unwrap().remove("without_blake3");
        let message = match vector["hex"].as_str() {
            None => vector["offer"].as_str().unwrap().as_bytes().to_vec(),
            Some(hex) => {
                (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
            }
        };
        let read = match Offer::parse(&message) {
            Ok(offer) => json!({
                "offer": vector["offer"],
                "host": offer.host.to_string(),
                "port": offer.port,
                "file": offer.path.to_string(),
                "hash": offer.digest.to_string(),
                "reboot": offer.reboot,
            }),
            Err(error) => {
                let reason = if matches!(error, OfferError::Path(_)) { "bad-name" } else { "bad-offer" };
                let mut refused = vector.clone();
                refused["refused"] = reason.into();
                refused.as_object_mut().unwrap().remove("host");
                refused
            }
        };
        assert_eq!(read, vector);
    }
}

#[test]
fn the_library_reads_the_shared_vectors_of_extended_offers() {
    let vectors: Vec<Value> = serde_json::from_str(EXTENDED).unwrap();
    for vector in vectors {
        let read = match AnyOffer::parse(vector["offer"].as_str().unwrap().as_bytes()) {
            Ok(AnyOffer::Plain(_)) => panic!("a plain offer: {vector}"),
            Ok(AnyOffer::Extended(offer)) => {
                let mut read = json!({
                    "offer": vector["offer"],
                    "host": offer.host.to_string(),
                    "port": offer.port,
                    "file": offer.path().to_string(),
                    "hash": offer.digest.to_string(),
                    "reboot": offer.reboot,
                    "id": offer.id.to_string(),
                    "size": offer.size,
                    "kind": match offer.content {
                        Content::File(_) => "file",
                        Content::Set(_) => "set",
                        _ => "rollback",
                    },
                });
                if let Content::Set(terms) = offer.content {
                    read["delete"] = json!(terms.delete.code());
                    read["dry"] = json!(terms.dry_run);
                    read["trial"] = json!(terms.trial.map(|trial| trial.boots()));
                }
                read
            }
            Err(error) => {
                let is_path =
                    matches!(error, AnyOfferError::Extended(ExtendedOfferError::Plain(OfferError::Path(_))));
                json!({"offer": vector["offer"], "refused": if is_path { "bad-name" } else { "bad-offer" }})
            }
        };
        assert_eq!(read, vector);
    }
}

#[test]
fn the_companion_client_reads_them_alike_on_micropython() {
    companion_reads_them(Interpreter::MicroPython);
}

#[test]
fn the_companion_client_reads_them_alike_on_cpython() {
    companion_reads_them(Interpreter::Python3);
}

fn companion_reads_them(interpreter: Interpreter) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let client = here.join("../micropython-client");
    let root = tempfile::tempdir().unwrap();
    for (script, file, vectors) in
        [("vectors.py", "offers.json", VECTORS), ("vectors_extended.py", "extended.json", EXTENDED)]
    {
        let run = Command::new(interpreter.program())
            .args([here.join("micropython").join(script), here.join("vectors").join(file)])
            .arg(root.path())
            .env("MICROPYPATH", format!("{}:.frozen", client.display()))
            .env("PYTHONPATH", &client)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&run.stdout);
        let count = serde_json::from_str::<Vec<Value>>(vectors).unwrap().len();
        assert!(printed.ends_with(&format!("{count} vectors, 0 wrong\n")), "{run:?}");
    }
}
