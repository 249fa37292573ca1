internal import Glibc
public func exponential(_ x: Float) -> Float { expf(x) }
public func exponential(_ x: Double) -> Double { exp(x) }
/// erfc.
public func complementaryError(_ x: Double) -> Double { erfc(x) }
public func logarithm(_ x: Double) -> Double { log(x) }
