//! A component that runs nothing by itself: interfaces for other containers and for embedders.

wit_bindgen::generate!({ path: "wit", world: "shop" });

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

use exports::acme::shop::{carts, checkout, goods};
use goods::{Item, Outcome, Size, Wishes};

struct Shop;

export!(Shop);

static ASKED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static OPEN: Cell<u32> = const { Cell::new(0) };
}

impl Guest for Shop {
    fn double(n: u32) -> u32 {
        n * 2
    }
}

impl goods::Guest for Shop {
    fn add(a: u32, b: u32) -> u32 {
        a + b
    }

    fn sell(items: Vec<Item>, name: String) -> Outcome {
        if items.is_empty() {
            return Outcome::Closed;
        }
        match items.into_iter().find(|item| item.name == name) {
            Some(item) => Outcome::Sold(Item { price: item.price + 1, ..item }),
            None => Outcome::Missing(name),
        }
    }

    fn turn(pair: (Size, Option<Wishes>)) -> Result<(Option<Wishes>, Size), String> {
        match pair {
            (Size::Small, None) => Err("nothing small without a wish".to_owned()),
            (size, wishes) => Ok((wishes, size)),
        }
    }

    fn echo(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    fn place() -> String {
        let name = std::env::var("NAME").unwrap_or_default();
        let file = std::fs::read_to_string("/data/file").unwrap_or_default();
        println!("asked for its place");
        format!("{name} {file}")
    }

    fn count() -> u32 {
        ASKED.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn fail() {
        panic!("on purpose")
    }

    fn spin() {
        println!("spinning");
        loop {
            std::hint::black_box(0);
        }
    }

    fn hoard() {
        let mut all = Vec::new();
        loop {
            all.push(vec![1u8; 1 << 20]);
            std::hint::black_box(&all);
        }
    }
}

struct Cart {
    items: RefCell<Vec<Item>>,
}

impl Cart {
    fn of(items: Vec<Item>) -> carts::Cart {
        OPEN.set(OPEN.get() + 1);
        carts::Cart::new(Cart { items: RefCell::new(items) })
    }

    fn sum(&self) -> u32 {
        self.items.borrow().iter().map(|item| item.price).sum()
    }
}

impl Drop for Cart {
    fn drop(&mut self) {
        OPEN.set(OPEN.get() - 1);
        println!("a cart of {} is gone", self.sum());
    }
}

impl carts::Guest for Shop {
    type Cart = Cart;

    fn filled(items: Vec<Item>) -> Option<carts::Cart> {
        (!items.is_empty()).then(|| Cart::of(items))
    }

    fn open() -> u32 {
        OPEN.get()
    }
}

impl carts::GuestCart for Cart {
    fn new(owner: String) -> Self {
        OPEN.set(OPEN.get() + 1);
        println!("a cart for {owner}");
        Cart { items: RefCell::default() }
    }

    fn put(&self, item: Item) {
        self.items.borrow_mut().push(item);
    }

    fn total(&self) -> u32 {
        self.sum()
    }

    fn dearer(&self, other: carts::CartBorrow<'_>) -> bool {
        self.sum() > other.get::<Cart>().sum()
    }

    fn merge(one: carts::Cart, other: carts::Cart) -> carts::Cart {
        let mut items = one.get::<Cart>().items.take();
        items.append(&mut other.get::<Cart>().items.borrow_mut());
        Cart::of(items)
    }
}

impl checkout::Guest for Shop {
    fn pay(carts: Vec<carts::Cart>) -> u32 {
        carts.iter().map(|cart| cart.get::<Cart>().sum()).sum()
    }
}
