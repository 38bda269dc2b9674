//! A command of WASI 0.2 that uses an interface of 0.3.

fn main() {
    println!("{} random bytes", wasip3::random::random::get_random_bytes(8).len());
}
