//! The functions of the language itself.
//!
//! Source: cel-go's `common/stdlib/standard.go`.

pub const STANDARD: &str = "
!_ = (bool) -> bool
-_ = (double) -> double
-_ = (int) -> int
@in = (A, list(A)) -> bool
@in = (A, map(A, B)) -> bool
@not_strictly_false = (bool) -> bool
_!=_ = (A, A) -> bool
_%_ = (int, int) -> int
_%_ = (uint, uint) -> uint
_&&_ = (bool, bool) -> bool
_*_ = (double, double) -> double
_*_ = (int, int) -> int
_*_ = (uint, uint) -> uint
_+_ = (bytes, bytes) -> bytes
_+_ = (double, double) -> double
_+_ = (duration, duration) -> duration
_+_ = (duration, timestamp) -> timestamp
_+_ = (timestamp, duration) -> timestamp
_+_ = (int, int) -> int
_+_ = (list(A), list(A)) -> list(A)
_+_ = (string, string) -> string
_+_ = (uint, uint) -> uint
_-_ = (double, double) -> double
_-_ = (duration, duration) -> duration
_-_ = (int, int) -> int
_-_ = (timestamp, duration) -> timestamp
_-_ = (timestamp, timestamp) -> duration
_-_ = (uint, uint) -> uint
_/_ = (double, double) -> double
_/_ = (int, int) -> int
_/_ = (uint, uint) -> uint
_<=_ = (bool, bool) -> bool
_<=_ = (int, int) -> bool
_<=_ = (int, double) -> bool
_<=_ = (int, uint) -> bool
_<=_ = (uint, uint) -> bool
_<=_ = (uint, double) -> bool
_<=_ = (uint, int) -> bool
_<=_ = (double, double) -> bool
_<=_ = (double, int) -> bool
_<=_ = (double, uint) -> bool
_<=_ = (string, string) -> bool
_<=_ = (bytes, bytes) -> bool
_<=_ = (timestamp, timestamp) -> bool
_<=_ = (duration, duration) -> bool
_<_ = (bool, bool) -> bool
_<_ = (int, int) -> bool
_<_ = (int, double) -> bool
_<_ = (int, uint) -> bool
_<_ = (uint, uint) -> bool
_<_ = (uint, double) -> bool
_<_ = (uint, int) -> bool
_<_ = (double, double) -> bool
_<_ = (double, int) -> bool
_<_ = (double, uint) -> bool
_<_ = (string, string) -> bool
_<_ = (bytes, bytes) -> bool
_<_ = (timestamp, timestamp) -> bool
_<_ = (duration, duration) -> bool
_==_ = (A, A) -> bool
_>=_ = (bool, bool) -> bool
_>=_ = (int, int) -> bool
_>=_ = (int, double) -> bool
_>=_ = (int, uint) -> bool
_>=_ = (uint, uint) -> bool
_>=_ = (uint, double) -> bool
_>=_ = (uint, int) -> bool
_>=_ = (double, double) -> bool
_>=_ = (double, int) -> bool
_>=_ = (double, uint) -> bool
_>=_ = (string, string) -> bool
_>=_ = (bytes, bytes) -> bool
_>=_ = (timestamp, timestamp) -> bool
_>=_ = (duration, duration) -> bool
_>_ = (bool, bool) -> bool
_>_ = (int, int) -> bool
_>_ = (int, double) -> bool
_>_ = (int, uint) -> bool
_>_ = (uint, uint) -> bool
_>_ = (uint, double) -> bool
_>_ = (uint, int) -> bool
_>_ = (double, double) -> bool
_>_ = (double, int) -> bool
_>_ = (double, uint) -> bool
_>_ = (string, string) -> bool
_>_ = (bytes, bytes) -> bool
_>_ = (timestamp, timestamp) -> bool
_>_ = (duration, duration) -> bool
_?_:_ = (bool, A, A) -> A
_[_] = (list(A), int) -> A
_[_] = (map(A, B), A) -> B
_[_] = (optional(list(V)), int) -> optional(V)
_[_] = (optional(map(K, V)), K) -> optional(V)
_||_ = (bool, bool) -> bool
bool = (bool) -> bool
bool = (string) -> bool
bytes = (bytes) -> bytes
bytes = (string) -> bytes
contains = string.(string) -> bool
double = (double) -> double
double = (int) -> double
double = (string) -> double
double = (uint) -> double
duration = (duration) -> duration
duration = (int) -> duration
duration = (string) -> duration
dyn = (A) -> dyn
endsWith = string.(string) -> bool
getDate = timestamp.() -> int
getDate = timestamp.(string) -> int
getDayOfMonth = timestamp.() -> int
getDayOfMonth = timestamp.(string) -> int
getDayOfWeek = timestamp.() -> int
getDayOfWeek = timestamp.(string) -> int
getDayOfYear = timestamp.() -> int
getDayOfYear = timestamp.(string) -> int
getFullYear = timestamp.() -> int
getFullYear = timestamp.(string) -> int
getHours = timestamp.() -> int
getHours = timestamp.(string) -> int
getHours = duration.() -> int
getMilliseconds = timestamp.() -> int
getMilliseconds = timestamp.(string) -> int
getMilliseconds = duration.() -> int
getMinutes = timestamp.() -> int
getMinutes = timestamp.(string) -> int
getMinutes = duration.() -> int
getMonth = timestamp.() -> int
getMonth = timestamp.(string) -> int
getSeconds = timestamp.() -> int
getSeconds = timestamp.(string) -> int
getSeconds = duration.() -> int
int = (int) -> int
int = (double) -> int
int = (duration) -> int
int = (string) -> int
int = (timestamp) -> int
int = (uint) -> int
matches = (string, string) -> bool
matches = string.(string) -> bool
size = (bytes) -> int
size = bytes.() -> int
size = (list(A)) -> int
size = list(A).() -> int
size = (map(A, B)) -> int
size = map(A, B).() -> int
size = (string) -> int
size = string.() -> int
startsWith = string.(string) -> bool
string = (string) -> string
string = (bool) -> string
string = (bytes) -> string
string = (double) -> string
string = (duration) -> string
string = (int) -> string
string = (timestamp) -> string
string = (uint) -> string
string = (net.IP) -> string
string = (net.CIDR) -> string
timestamp = (timestamp) -> timestamp
timestamp = (int) -> timestamp
timestamp = (string) -> timestamp
type = (A) -> type(A)
uint = (uint) -> uint
uint = (double) -> uint
uint = (int) -> uint
uint = (string) -> uint
";
