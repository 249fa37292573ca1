internal import Tensors

extension Volume {
  /// Label values may be of this magnitude.
  static let largestLabel = Double(Int32.max)

  /// Voxels `xs` of the row (y, z) as label values; returns the first value that is not a whole number of 32 bits, nil when all are.
  func readLabels(_ xs: Range<Int>, y: Int, z: Int, into out: UnsafeMutablePointer<Int32>) -> Double? {
    let line = address(xs.lowerBound, y, z)
    guard slope == 1, intercept == 0 else { return readScaled(xs, y: y, z: z, into: out) }
    switch dtype {
    case .uint8, .bool: widen(line, xs.count, out, UInt8.self)
    case .int8: widen(line, xs.count, out, Int8.self)
    case .int16: widen(line, xs.count, out, Int16.self)
    case .uint16: widen(line, xs.count, out, UInt16.self)
    case .int32: widen(line, xs.count, out, Int32.self)
    default: return readScaled(xs, y: y, z: z, into: out)
    }
    return nil
  }

  private func widen<T: FixedWidthInteger & BitwiseCopyable>(
    _ line: UnsafeRawPointer, _ count: Int, _ out: UnsafeMutablePointer<Int32>, _: T.Type
  ) {
    let stride = strides[0]
    for index in 0..<count { out[index] = Int32(truncatingIfNeeded: (line + index * stride).loadUnaligned(as: T.self)) }
  }

  private func readScaled(_ xs: Range<Int>, y: Int, z: Int, into out: UnsafeMutablePointer<Int32>) -> Double? {
    for (place, x) in xs.enumerated() {
      let value = value(x, y, z)
      guard value.magnitude <= Self.largestLabel, value == value.rounded() else { return value }
      out[place] = Int32(value)
    }
    return nil
  }
}
