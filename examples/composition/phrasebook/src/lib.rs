//! A library: nothing of it runs until another container of its pod calls it. The phrases are what
//! its own container was configured with.

wit_bindgen::generate!({ path: "wit", world: "phrasebook", generate_all });

use wasi::config::store;

struct Phrasebook;

export!(Phrasebook);

impl exports::example::phrases::greet::Guest for Phrasebook {
    fn greeting(language: String, name: String) -> Result<String, String> {
        match store::get(&language) {
            Ok(Some(phrase)) => Ok(phrase.replace("NAME", &name)),
            Ok(None) => Err(format!("no phrase in {language:?}")),
            Err(error) => Err(format!("{error:?}")),
        }
    }
}
