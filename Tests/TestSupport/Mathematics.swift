internal import Glibc
public func exponential(_ x: Float) -> Float { expf(x) }
