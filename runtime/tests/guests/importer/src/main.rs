//! A command that calls the shop: the first argument says what to do there.

wit_bindgen::generate!({ path: "wit", world: "customer" });

use acme::shop::carts::{self, Cart};
use acme::shop::checkout;
use acme::shop::goods::{self, Item, Outcome, Size, Wishes};

fn main() {
    let step = std::env::args().nth(1).unwrap_or_default();
    match step.as_str() {
        "nothing" => println!("not called"),
        "values" => values(),
        "carts" => carts(),
        "place" => println!("{}", goods::place()),
        "fail" => goods::fail(),
        "spin" => goods::spin(),
        "hoard" => goods::hoard(),
        "late" => {
            println!("ready");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            println!("{}", goods::add(1, 2));
        }
        other => panic!("unknown step {other}"),
    }
}

fn item(name: &str, price: u32) -> Item {
    Item { name: name.to_owned(), price, tags: vec!["new".to_owned(), "ä".to_owned()] }
}

fn values() {
    assert_eq!(goods::add(40, 2), 42);
    let items = [item("tea", 3), item("salt", 1)];
    match goods::sell(&items, "salt") {
        Outcome::Sold(sold) => assert_eq!((sold.price, sold.tags.len()), (2, 2)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(goods::sell(&items, "oil"), Outcome::Missing(name) if name == "oil"));
    assert!(matches!(goods::sell(&[], "oil"), Outcome::Closed));
    let wishes = Some(Wishes::GIFT | Wishes::FAST);
    assert_eq!(goods::turn((Size::Large, wishes)), Ok((wishes, Size::Large)));
    assert!(goods::turn((Size::Small, None)).is_err());
    let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    assert!(goods::echo(&bytes) == bytes);
    // One instance for all calls of this one.
    assert_eq!((goods::count(), goods::count()), (1, 2));
    println!("well");
}

fn carts() {
    let one = Cart::new("one");
    one.put(&item("tea", 3));
    let two = carts::filled(&[item("salt", 1), item("oil", 9)]).unwrap();
    assert!(carts::filled(&[]).is_none());
    assert_eq!((one.total(), two.total()), (3, 10));
    assert!(two.dearer(&one) && !one.dearer(&two));
    assert_eq!(carts::open(), 2);
    let both = Cart::merge(one, two);
    assert_eq!(both.total(), 13);
    assert_eq!(carts::open(), 1);
    drop(both);
    assert_eq!(carts::open(), 0);
    let paid = checkout::pay(vec![carts::filled(&[item("tea", 3)]).unwrap(), Cart::new("two")]);
    assert_eq!((paid, carts::open()), (3, 0));
    println!("well");
}
