/// Element types of tensors, images and weight files.
public enum DType: String, Sendable, CaseIterable {
  case float64, float32, float16, bfloat16
  case int64, int32, int16, int8
  case uint64, uint32, uint16, uint8
  case bool

  public var byteCount: Int {
    switch self {
    case .float64, .int64, .uint64: 8
    case .float32, .int32, .uint32: 4
    case .float16, .bfloat16, .int16, .uint16: 2
    case .int8, .uint8, .bool: 1
    }
  }
  public var isFloatingPoint: Bool {
    switch self {
    case .float64, .float32, .float16, .bfloat16: true
    default: false
    }
  }
}

/// Rounding of a float32 to bfloat16 (nearest, ties to even), bits as `UInt16`.
@inlinable public func bfloat16Bits(_ value: Float) -> UInt16 {
  let bits = value.bitPattern
  if value.isNaN { return UInt16(truncatingIfNeeded: bits >> 16) | 0x40 }
  return UInt16(truncatingIfNeeded: (bits &+ 0x7fff &+ ((bits >> 16) & 1)) >> 16)
}
@inlinable public func floatFromBFloat16(_ bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }
/// `value` rounded to bfloat16 and used as float32 again.
@inlinable public func roundedToBFloat16(_ value: Float) -> Float { floatFromBFloat16(bfloat16Bits(value)) }

/// IEEE half precision without the `Float16` type, which needs hardware support on some targets.
public func floatFromFloat16(_ bits: UInt16) -> Float {
  let sign = UInt32(bits & 0x8000) << 16
  let exponent = UInt32(bits >> 10) & 0x1f
  let fraction = UInt32(bits) & 0x3ff
  if exponent == 0x1f { return Float(bitPattern: sign | 0x7f80_0000 | fraction << 13) }
  if exponent == 0 {
    let magnitude = Float(fraction) * 0x1p-24
    return sign == 0 ? magnitude : -magnitude
  }
  return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
}
public func float16Bits(_ value: Float) -> UInt16 {
  let bits = value.bitPattern
  let sign = UInt16(truncatingIfNeeded: bits >> 16) & 0x8000
  if value.isNaN { return sign | 0x7e00 }
  let magnitude = value.magnitude
  if magnitude >= 65520 { return sign | 0x7c00 }
  if magnitude < 0x1p-14 { return sign | UInt16((magnitude * 0x1p24).rounded(.toNearestOrEven)) }
  let wide = bits & 0x7fff_ffff
  let rounded = wide &+ 0xfff &+ ((wide >> 13) & 1)
  return sign | UInt16(truncatingIfNeeded: (rounded >> 13) &- (112 << 10))
}
