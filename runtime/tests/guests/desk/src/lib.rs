//! A library that itself calls another one.

wit_bindgen::generate!({ path: "wit", world: "front", generate_all });

use acme::shop::goods;

struct Desk;

export!(Desk);

impl exports::acme::front::desk::Guest for Desk {
    fn greet(name: String) -> String {
        format!("{name}, that is {} at {}", goods::add(2, 3), goods::place())
    }

    fn fail() {
        goods::fail();
    }
}
