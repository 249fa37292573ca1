internal import Imaging
internal import Platform
internal import Tensors

/// Writes slices of a case into a caller's volume, whatever its strides.
struct VolumeSink {
  let volume: Volume
  let axes: [Int]
  private let pool: ThreadPool

  init(_ volume: Volume, axes: [Int], pool: ThreadPool) {
    self.volume = volume
    self.axes = axes
    self.pool = pool
  }

  private func address(_ slice: Int, _ row: Int, _ column: Int, channel: Int = 0) -> UnsafeMutableRawPointer {
    let strides = volume.strides
    let at = slice * strides[axes[0]] + row * strides[axes[1]] + column * strides[axes[2]]
    return volume.mutableBase + (at + channel * volume.channelStride)
  }

  /// Fills a channel with one value.
  func fill(channel: Int, _ value: Int32) {
    let dims = volume.geometry.dims
    pool.forEach(dims[2]) { z in
      for y in 0..<dims[1] {
        let at = y * volume.strides[1] + z * volume.strides[2] + channel * volume.channelStride
        fillLine(volume.mutableBase + at, dims[0], volume.strides[0], value)
      }
    }
  }

  /// Throws nothing: dtypes were checked before. Values come from `line`, `count` columns from `column`.
  func writeLabels(_ line: UnsafePointer<Int32>, count: Int, slice: Int, row: Int, column: Int) {
    let target = address(slice, row, column)
    let stride = volume.strides[axes[2]]
    switch volume.dtype {
    case .uint8, .int8: for i in 0..<count { (target + i * stride).storeBytes(of: UInt8(truncatingIfNeeded: line[i]), as: UInt8.self) }
    case .int16, .uint16: for i in 0..<count { (target + i * stride).storeBytes(of: UInt16(truncatingIfNeeded: line[i]), as: UInt16.self) }
    default: for i in 0..<count { (target + i * stride).storeBytes(of: line[i], as: Int32.self) }
    }
  }

  func writeScores(_ line: UnsafePointer<Float>, count: Int, channel: Int, slice: Int, row: Int, column: Int) {
    let target = address(slice, row, column, channel: channel)
    let stride = volume.strides[axes[2]]
    switch volume.dtype {
    case .float64: for i in 0..<count { (target + i * stride).storeBytes(of: Double(line[i]), as: Double.self) }
    case .float16: for i in 0..<count { (target + i * stride).storeBytes(of: float16Bits(line[i]), as: UInt16.self) }
    case .bfloat16: for i in 0..<count { (target + i * stride).storeBytes(of: bfloat16Bits(line[i]), as: UInt16.self) }
    default: for i in 0..<count { (target + i * stride).storeBytes(of: line[i], as: Float.self) }
    }
  }

  private func fillLine(_ target: UnsafeMutableRawPointer, _ count: Int, _ stride: Int, _ value: Int32) {
    let number = Float(value)
    switch volume.dtype {
    case .uint8, .int8: for i in 0..<count { (target + i * stride).storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self) }
    case .int16, .uint16: for i in 0..<count { (target + i * stride).storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self) }
    case .float64: for i in 0..<count { (target + i * stride).storeBytes(of: Double(value), as: Double.self) }
    case .float16: for i in 0..<count { (target + i * stride).storeBytes(of: float16Bits(number), as: UInt16.self) }
    case .bfloat16: for i in 0..<count { (target + i * stride).storeBytes(of: bfloat16Bits(number), as: UInt16.self) }
    case .float32: for i in 0..<count { (target + i * stride).storeBytes(of: number, as: Float.self) }
    default: for i in 0..<count { (target + i * stride).storeBytes(of: value, as: Int32.self) }
    }
  }

  /// Throws: `.shape` when the grid or channel count differs, `.unsupported` for a dtype that labels cannot have,
  /// `.invalid` when `largest` does not fit.
  static func checkLabels(_ volume: Volume, dims: [Int], largest: Int) throws(MedDINOError) {
    try checkGrid(volume, "labels", dims: dims, channels: 1)
    let limit: Int
    switch volume.dtype {
    case .uint8: limit = 255
    case .int8: limit = 127
    case .int16: limit = 32767
    case .uint16: limit = 65535
    case .int32: limit = Int(Int32.max)
    default: throw .unsupported("labels has dtype \(volume.dtype.rawValue), expected uint8, int8, int16, uint16 or int32")
    }
    guard largest <= limit else {
      throw .invalid("labels has dtype \(volume.dtype.rawValue), which does not hold the label value \(largest)")
    }
  }

  static func checkScores(_ volume: Volume, dims: [Int], channels: Int) throws(MedDINOError) {
    try checkGrid(volume, "probabilities", dims: dims, channels: channels)
    guard volume.dtype.isFloatingPoint else {
      throw .unsupported("probabilities has dtype \(volume.dtype.rawValue), expected a floating-point type")
    }
  }

  private static func checkGrid(_ volume: Volume, _ name: String, dims: [Int], channels: Int) throws(MedDINOError) {
    guard volume.geometry.dims == dims else {
      throw .shape("\(name) has dims \(volume.geometry.dims), expected those of the image: \(dims)")
    }
    guard volume.channels == channels else { throw .shape("\(name) has \(volume.channels) channels, expected \(channels)") }
    guard volume.slope == 1, volume.intercept == 0 else { throw .invalid("\(name) has a slope or intercept, expected 1 and 0") }
  }
}
