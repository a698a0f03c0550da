//! `drawhall ctl invitations`: links that make an account for the admin page.

use clap::{Args, value_parser};
use reqwest::Method;
use serde_json::json;

use super::Api;
use crate::Failure;

/// What to do with invitations; without options they are listed.
#[derive(Debug, Args)]
pub(super) struct Invitations {
    /// Make an invitation for a reader, moderator or administrator.
    #[arg(long, value_name = "ROLE", value_parser = ["reader", "moderator", "administrator"])]
    make: Option<String>,
    /// Whom it is for.
    #[arg(long, default_value = "", requires = "make")]
    name: String,
    /// Days that it is valid, 1 to 30.
    #[arg(long, default_value_t = 7, value_parser = value_parser!(u8).range(1..=30), requires = "make")]
    days: u8,
    /// Withdraw the invitation with this id.
    #[arg(long, value_name = "ID", conflicts_with = "make")]
    withdraw: Option<u64>,
}

impl Api {
    pub(super) async fn invitations(&self, wanted: Invitations) -> Result<(), Failure> {
        let Invitations { make, name, days, withdraw } = wanted;
        if let Some(role) = make {
            let body = json!({"role": role, "name": name, "days": days});
            let made = self.request(Method::POST, "invitations", Some(&body)).await?;
            let page = self.url.strip_suffix("/api").unwrap_or(&self.url);
            let token = made["token"].as_str().unwrap_or_default();
            let local_link = || format!("{page}/#/invitation/{token}");
            let link = made["link"].as_str();
            self.print_result(&made, &link.map_or_else(local_link, str::to_owned));
            self.note(&format!("The link works once, until {}.", super::shown(&made["expires"])));
            if link.is_none() {
                self.note(&format!(
                    "Replace {page} by the address at which others reach the admin page. With --web-admin-url the\n\
                     server knows it."
                ));
            }
        } else if let Some(id) = withdraw {
            let done = self.request(Method::DELETE, &format!("invitations/{id}"), None).await?;
            self.print_result(&done, "withdrawn");
        } else {
            let list = self.get("invitations").await?;
            self.print_table(
                &list["invitations"],
                &["id", "role", "name", "author", "created", "expires", "usedBy"],
            );
        }
        Ok(())
    }
}
