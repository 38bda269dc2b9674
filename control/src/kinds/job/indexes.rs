//! Lists of indexes as a job's status holds them: `1,3-5,7`.
//!
//! Source: `validateIndexesFormat` and its neighbours in
//! `pkg/apis/batch/validation/validation.go`.

/// How many indexes a list names, each below `completions` and in order; or what is wrong with it.
pub fn count(text: &str, completions: i32) -> Result<i32, String> {
    let mut total = 0;
    let mut last: Option<i32> = None;
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(out_of_order(last, first));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The complaint about an index that is in both lists. Parts that do not parse are `count`'s to tell.
pub fn overlap(completed: &str, failed: &str, completions: i32) -> Option<String> {
    if completed.is_empty() || failed.is_empty() {
        return None;
    }
    let parse = |text: &str| -> Vec<(i32, i32)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (parse(completed), parse(failed));
    let (mut completed, mut failed) = (completed.as_slice(), failed.as_slice());
    while let ([(first, end), later @ ..], [(first_failed, end_failed), later_failed @ ..]) =
        (completed, failed)
    {
        if first <= end_failed && first_failed <= end {
            let at = first.max(first_failed);
            return Some(format!("failedIndexes and completedIndexes overlap at index: {at}"));
        }
        if first <= first_failed { completed = later } else { failed = later_failed }
    }
    None
}

fn interval(text: &str, completions: i32) -> Result<(i32, i32), String> {
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [one] => {
            let one = index(one, completions)?;
            Ok((one, one))
        }
        [first, end] => {
            let (first, end) = (index(first, completions)?, index(end, completions)?);
            if first >= end { Err(out_of_order(first, end)) } else { Ok((first, end)) }
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

fn index(text: &str, completions: i32) -> Result<i32, String> {
    let number: i64 = text
        .parse()
        .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
    match i32::try_from(number) {
        Ok(index) if index < completions => Ok(index),
        Ok(_) | Err(_) => Err(format!("too large index: {text:?}")),
    }
}

fn out_of_order(previous: i32, current: i32) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted_or_complained_of() {
        let cases = [
            ("", Ok(0)),
            ("1,3-5,7", Ok(5)),
            ("1,1", Err("non-increasing order, previous: 1, current: 1")),
            ("3-2", Err("non-increasing order, previous: 3, current: 2")),
            ("1-2-3", Err("the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'")),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            ("1,", Err("cannot convert string to integer for index: \"\"")),
            ("10", Err("too large index: \"10\"")),
        ];
        for (text, expected) in cases {
            assert_eq!(count(text, 10), expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn an_index_is_in_one_list_at_most() {
        assert_eq!(overlap("0,2-4", "1,5", 10), None);
        assert_eq!(
            overlap("0,2-4", "1,4-6", 10).as_deref(),
            Some("failedIndexes and completedIndexes overlap at index: 4")
        );
        assert_eq!(overlap("", "1", 10), None);
        assert_eq!(overlap("x", "1", 10), None);
    }
}
