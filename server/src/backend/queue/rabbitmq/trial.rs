//! The trial of RabbitMQ: a message through a queue of its own, which goes with its connection.

use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use secrecy::SecretString;

use super::connection::address;
use super::topology::Topology;
use crate::backend::trial::{TRIED, Trial, expect_tried};
use crate::backend::{BlobId, Error};

/// The longest that it takes to end the connection in good order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const RABBIT: &str = "RabbitMQ";

/// Connects once, publishes a message, takes it again and acknowledges it. The broker's version is not told: the library
/// keeps what it says of itself.
///
/// # Errors
/// [`Error::Queue`], [`Error::Trial`].
pub(in crate::backend::queue) async fn try_out(
    url: &SecretString,
    prefix: &str,
) -> Result<Trial, Error> {
    let name = format!("miaofs-server doctor {}", std::process::id());
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connection = Connection::connect_uri(address(url)?, properties).await?;
    let queue = Topology::new(prefix).trial_queue(&BlobId::random().to_string());
    let exchanged = exchange(&connection.create_channel().await?, queue).await;
    // One that is broken already cannot be closed in good order.
    let closing = connection.close(200, "OK".into());
    let _closed = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    exchanged.map(|()| Trial { version: Some(RABBIT.to_owned()), clock: None })
}

async fn exchange(channel: &Channel, queue: ShortString) -> Result<(), Error> {
    let its_own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(queue.clone(), its_own, FieldTable::default()).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    // The exchange without a name leads to each queue by its name.
    let sent = channel
        .basic_publish("".into(), queue.clone(), mandatory, TRIED, BasicProperties::default())
        .await?;
    if !sent.await?.is_ack() {
        return Err(Error::Trial { what: RABBIT, said: "took no message".to_owned() });
    }
    let got = channel.basic_get(queue, BasicGetOptions::default()).await?;
    expect_tried(RABBIT, got.as_ref().map(|message| message.delivery.data.as_slice()))?;
    if let Some(message) = got {
        message.delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
