//! What is refused of names and devices, and who waits for whom.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::*;
use crate::service::tests::Scene;

const PASSWORD: &str = "correct horse battery";
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn names_are_folded_and_bounded() {
    assert_eq!(checked_name("Anna.B@x").unwrap(), "anna.b@x");
    for bad in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert!(matches!(checked_name(bad), Err(Error::Invalid(_))), "{bad}");
    }
}

#[test]
fn a_device_name_can_stand_in_a_file_name() {
    let device = |name: &str| check_device(&Device { id: None, name: name.to_owned() });
    assert!(device("Annas Rechner 秒").is_ok());
    for bad in ["", "a/b", "a\0", "a\nb", &"x".repeat(65)] {
        assert!(device(bad).is_err(), "{bad}");
    }
}

fn accounts(scene: &Scene) -> Accounts {
    let (context, keys) = (&scene.context, &scene.backends.token_keys);
    let tracker = scene.backends.tracker.clone();
    let tokens = Tokens::new(context.db.clone(), tracker.clone(), keys, [HOUR; 2]);
    Accounts::new(context.db.clone(), tracker, tokens, context.policy.clone())
}

#[tokio::test]
async fn a_device_that_was_signed_in_does_not_wait_for_those_who_guess_from_everywhere() {
    let scene = Scene::new(Duration::ZERO).await;
    let accounts = accounts(&scene);
    let home = IpAddr::from([192, 0, 2, 1]);
    let device = Device { id: Some(DeviceId::random()), name: "laptop".to_owned() };
    let request =
        SignUp { name: "anna".to_owned(), password: PASSWORD.to_owned(), device, invitation: None };
    let device = request.device.clone();
    accounts.sign_up(request, home).await.unwrap();

    const GUESSERS: u8 = 40;
    let sign_in = |password: &str, device: &Device, from| {
        let (name, password) = ("anna".to_owned(), password.to_owned());
        let request = SignIn { name, password, device: device.clone() };
        accounts.sign_in(request, from)
    };
    let guess = |site| {
        let device = Device { id: Some(DeviceId::random()), name: "guesser".to_owned() };
        sign_in("wrong horse battery", &device, IpAddr::from([10, site, 0, 1]))
    };
    let mut guesses: FuturesUnordered<_> = (0..GUESSERS).map(guess).collect();
    assert!(matches!(guesses.next().await, Some(Err(Error::WrongCredentials))));
    // From a network where they guess, too: it is the device that is known.
    let mut signed_in = pin!(sign_in(PASSWORD, &device, IpAddr::from([10, 0, 0, 1])));
    let mut refused = 1;
    loop {
        tokio::select! {
            session = &mut signed_in => break drop(session.unwrap()),
            Some(guess) = guesses.next() => {
                assert!(matches!(guess, Err(Error::WrongCredentials)));
                refused += 1;
            }
        }
    }
    assert!(refused < GUESSERS / 2, "{refused} guesses were answered first");
}
