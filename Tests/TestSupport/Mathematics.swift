internal import Glibc
public func exponential(_ x: Float) -> Float { expf(x) }
public func exponential(_ x: Double) -> Double { exp(x) }
