//! `{{ name }}` in files, as `kumactl apply --var` fills it in.

use std::collections::BTreeMap;

/// Values of variables.
#[derive(Clone, Debug)]
pub(super) struct Variables<'a>(BTreeMap<&'a str, &'a str>);

/// Why a text cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    /// Nobody gave it a value. (`kumactl` leaves the place empty.)
    #[error("line {line}: no value for {{{{{name}}}}}; give one with `--var {name}=VALUE`")]
    Unknown {
        /// From 1.
        line: usize,
        /// Which.
        name: String,
    },
    /// It does not end.
    #[error("line {line}: `{{{{` without `}}}}`")]
    Open {
        /// From 1.
        line: usize,
    },
}

impl<'a> Variables<'a> {
    /// Of a name that comes twice the last value counts.
    pub(super) fn new(variables: &'a [(String, String)]) -> Self {
        let pairs = variables.iter().map(|(name, value)| (&**name, &**value));
        Self(pairs.collect())
    }

    /// The text with every `{{ name }}` replaced. Without any variable it is
    /// left as it is: it may be no template.
    pub(super) fn fill(&self, text: &str) -> Result<String, TemplateError> {
        if self.0.is_empty() {
            return Ok(text.to_owned());
        }
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            filled.push_str(before);
            let done = text.len() - behind.len();
            let line = text.get(..done).unwrap_or(text).matches('\n').count() + 1;
            let Some((name, behind)) = behind.split_once("}}") else {
                return Err(TemplateError::Open { line });
            };
            let name = name.trim();
            let Some(value) = self.0.get(name) else {
                let name = name.to_owned();
                return Err(TemplateError::Unknown { line, name });
            };
            filled.push_str(value);
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, variables: &[(&str, &str)]) -> Result<String, TemplateError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: Vec<_> = variables.iter().map(owned).collect();
        Variables::new(&variables).fill(text)
    }

    #[test]
    fn variables_are_filled_in_and_no_others() {
        let variables = [("name", "web"), ("kuma.io/zone", "{{ name }}")];
        let text = "a: {{name}}\nb: {{ kuma.io/zone }}{{\tname }}é";
        assert_eq!(fill(text, &variables).unwrap(), "a: web\nb: {{ name }}webé");
        assert_eq!(fill("{a: {b: c}}", &variables).unwrap(), "{a: {b: c}}");
        assert_eq!(fill("{{ x }} {{", &[]).unwrap(), "{{ x }} {{");
    }

    #[test]
    fn what_has_no_value_is_told_with_its_line() {
        let error = fill("a\nb: {{ nmae }}", &[("name", "x")]).unwrap_err();
        let text = error.to_string();
        assert_eq!(
            text,
            "line 2: no value for {{nmae}}; give one with `--var nmae=VALUE`"
        );
        let error = fill("a: {{ name", &[("name", "x")]).unwrap_err();
        assert_eq!(error.to_string(), "line 1: `{{` without `}}`");
    }
}
