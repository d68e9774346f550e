//! What a webhook is told, in the form that its receiver reads.

use std::borrow::Cow;

use lockkeeper_model::{LockWarning, Severity, Time, WarningState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::hooks::Form;

/// The longest summary that PagerDuty takes, in characters.
/// <https://developer.pagerduty.com/docs/send-alert-event>
const PAGERDUTY_SUMMARY_CHARS: usize = 1_024;

/// The longest text of a section in Slack, in characters. <https://docs.slack.dev/reference/block-kit/blocks/section-block>
const SLACK_TEXT_CHARS: usize = 3_000;

/// Something to tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Message {
    /// Names the delivery.
    pub(super) id: String,
    /// When it was to be told.
    pub(super) at: Time,
    /// `opened`, `acknowledged`, `resolved` or `test`.
    pub(super) event: Cow<'static, str>,
    /// What it is about.
    pub(super) warning: LockWarning,
}

impl Message {
    /// The body in this form. `base` is where people find the dashboard; `key`, who receives it at PagerDuty.
    pub(super) fn body(&self, form: Form, base: Option<&Url>, key: Option<&str>) -> Value {
        let link = base.map(|base| link(base, &self.warning));
        match form {
            Form::Json => json!({
                "version": 1,
                "id": self.id,
                "at": self.at,
                "event": self.event,
                "warning": self.warning,
                "link": link,
            }),
            Form::Slack => self.slack(link.as_deref()),
            Form::PagerDuty => self.pagerduty(link.as_deref(), key),
        }
    }

    fn headline(&self) -> String {
        let LockWarning { severity, rule, about, source, .. } = &self.warning;
        let word = match &*self.event {
            "opened" => "",
            event => event,
        };
        let word = if word.is_empty() { String::new() } else { format!("{word}: ") };
        format!("{word}{} {} — {about} in {source}", severity.word(), rule.word())
    }

    /// What is so, or how it ended.
    fn sentence(&self) -> &str {
        match (&self.warning.resolved, self.warning.state) {
            (Some(how), WarningState::Resolved) => how,
            _ => &self.warning.says,
        }
    }

    fn slack(&self, link: Option<&str>) -> Value {
        let headline = self.headline();
        let mut text = format!("*{}*\n{}", escaped(&headline), escaped(self.sentence()));
        if self.event == "opened" {
            text.push_str(&format!("\n_{}_ {}", escaped(&self.warning.why), escaped(&self.warning.todo)));
        }
        if let Some(note) = self.warning.acknowledged.as_ref().filter(|_| self.event == "acknowledged") {
            text.push_str(&format!("\n{} looks into it.", escaped(&note.by)));
        }
        if let Some(link) = link {
            text.push_str(&format!("\n<{link}|Look at it>"));
        }
        let since = format!("since {} · {}", self.warning.since, self.warning.id);
        json!({
            "text": escaped(&headline),
            "blocks": [
                { "type": "section", "text": { "type": "mrkdwn", "text": cut(&text, SLACK_TEXT_CHARS) } },
                { "type": "context", "elements": [{ "type": "plain_text", "text": since }] },
            ],
        })
    }

    fn pagerduty(&self, link: Option<&str>, key: Option<&str>) -> Value {
        let LockWarning { id, rule, severity, source, lock, since, why, todo, .. } = &self.warning;
        let action = match &*self.event {
            "resolved" => "resolve",
            "acknowledged" => "acknowledge",
            _ => "trigger",
        };
        let mut event = json!({ "routing_key": key, "event_action": action, "dedup_key": id, "client": "Lockkeeper" });
        if let Some(link) = link {
            event["client_url"] = json!(link);
        }
        if action == "trigger" {
            let summary = format!("{}: {}", self.headline(), self.sentence());
            event["payload"] = json!({
                "summary": cut(&summary, PAGERDUTY_SUMMARY_CHARS),
                "source": source,
                "severity": match severity {
                    Severity::Info => "info",
                    Severity::Warning => "warning",
                    Severity::Critical => "critical",
                },
                "timestamp": self.at,
                "component": lock,
                "class": rule.word(),
                "custom_details": { "since": since, "why": why, "what to do": todo },
            });
        }
        event
    }
}

/// Where the warning is shown.
fn link(base: &Url, warning: &LockWarning) -> String {
    let base = base.as_str().trim_end_matches('/');
    format!("{base}/warnings?warning={}", warning.id)
}

/// Slack reads three characters as markup. <https://docs.slack.dev/messaging/formatting-message-text#escaping>
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars - 1) {
        Some((end, _)) if text.chars().count() > chars => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}
