//! Finds the form a prompt asks to be filled in, so that a simulated answer can be read as one.
//!
//! ```text
//!  Answer in this form:                      Answer in this form:
//!  Label: <spam | ham>                       {"label": "<spam | ham>", "score": <number>}
//!  Score: <number>
//! ```
//!
//! The form is what stands behind `in this form:`, up to the first blank line. What stands in `<…>`
//! is filled in: one of several words, a `<number>` from 0 to 1, an `<integer>` up to 100, a
//! `<date>`, or else some words of the prompt.

/// The form of a prompt.
pub(super) fn find(text: &str) -> Option<String> {
    const MARK: &[u8] = b"in this form:";
    let lower = text.to_ascii_lowercase();
    let at = memchr::memmem::rfind(lower.as_bytes(), MARK)? + MARK.len();
    let lines = text[at..]
        .trim_start()
        .lines()
        .take_while(|line| !line.trim().is_empty());
    let form = lines.collect::<Vec<_>>().join("\n");
    (!form.is_empty()).then_some(form)
}

/// The form with every blank filled in; `phrase` gives some words of the prompt.
pub(super) fn fill(
    form: &str,
    rng: &mut fastrand::Rng,
    mut phrase: impl FnMut(&mut fastrand::Rng) -> String,
) -> String {
    let is_json = form.starts_with(['{', '[']);
    let (mut filled, mut rest) = (String::new(), form);
    while let Some((before, after)) = rest.split_once('<') {
        let Some((blank, after)) = after.split_once('>') else {
            break;
        };
        filled.push_str(before);
        let said = match blank.trim() {
            "number" => format!("{:.2}", f64::from(rng.u8(..=100)) / 100.0),
            "integer" => rng.u8(..=100).to_string(),
            "date" => format!(
                "20{:02}-{:02}-{:02}",
                rng.u8(19..=26),
                rng.u8(1..=12),
                rng.u8(1..=28)
            ),
            words if words.contains('|') => {
                let words: Vec<&str> = words.split('|').map(str::trim).collect();
                words[rng.usize(..words.len())].to_owned()
            }
            _ => phrase(rng),
        };
        if is_json {
            let quoted = serde_json::Value::from(said).to_string();
            filled.push_str(&quoted[1..quoted.len() - 1]);
        } else {
            filled.push_str(&said);
        }
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_what_a_prompt_asks_for() {
        let mut rng = fastrand::Rng::with_seed(1);
        let form = find(
            "Sort it. Answer in this form:\n\nLabel: <spam | ham>\nWhy: <reason> (<x)\n\nText: …",
        )
        .unwrap();
        assert_eq!(form, "Label: <spam | ham>\nWhy: <reason> (<x)");
        let filled = fill(&form, &mut rng, |_| "it says so".to_owned());
        assert!(
            [
                "Label: spam\nWhy: it says so (<x)",
                "Label: ham\nWhy: it says so (<x)"
            ]
            .contains(&filled.as_str()),
            "{filled}"
        );
        let form = find(
            "Answer as JSON, in this form: \
            {\"a\": \"<words>\", \"n\": <number>, \"d\": \"<date>\"}",
        )
        .unwrap();
        let filled: serde_json::Value =
            serde_json::from_str(&fill(&form, &mut rng, |_| "say \"so\"".to_owned())).unwrap();
        assert_eq!(filled["a"], "say \"so\"");
        assert!((0.0..=1.0).contains(&filled["n"].as_f64().unwrap()));
        assert_eq!(find("no form"), None);
        assert_eq!(find("in this form:\n"), None);
    }
}
