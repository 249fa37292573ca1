import Imaging
import Platform
import Tensors
import Testing

/// Headers and files for tests, built field by field.
struct NIfTISample {
  var version = 1
  var isBigEndian = false
  var isPair = false
  var dim = [3, 4, 5, 6, 1, 1, 1, 1]
  var datatype = 4
  var pixdim: [Double] = [1, 0.5, 0.75, 2, 0, 0, 0, 0]
  var offset: Double?
  var slope = 1.0
  var intercept = 0.0
  var units = 2
  var qform = 0
  var sform = 1
  var quaternion = [0.0, 0, 0]
  var qoffset = [0.0, 0, 0]
  var srow: [Double] = [-0.5, 0, 0, 10, 0, -0.75, 0, 20, 0, 0, 2, 30]

  var header: [UInt8] {
    let second = version == 2
    var bytes = [UInt8](repeating: 0, count: second ? 544 : 352)
    func put<T: FixedWidthInteger>(_ value: T, _ at: Int) {
      withUnsafeBytes(of: isBigEndian ? value.bigEndian : value.littleEndian) { for (i, b) in $0.enumerated() { bytes[at + i] = b } }
    }
    func real(_ value: Double, _ first: Int, _ other: Int) {
      if second { put(value.bitPattern, other) } else { put(Float(value).bitPattern, first) }
    }
    put(Int32(second ? 540 : 348), 0)
    let magic: [UInt8] = [0x6e, isPair ? 0x69 : 0x2b, second ? 0x32 : 0x31, 0] + (second ? [0x0d, 0x0a, 0x1a, 0x0a] : [])
    for (i, b) in magic.enumerated() { bytes[(second ? 4 : 344) + i] = b }
    for (i, d) in dim.enumerated() {
      if second { put(Int64(d), 16 + 8 * i) } else { put(Int16(truncatingIfNeeded: d), 40 + 2 * i) }
    }
    put(Int16(truncatingIfNeeded: datatype), second ? 12 : 70)
    for (i, p) in pixdim.enumerated() { real(p, 76 + 4 * i, 104 + 8 * i) }
    let start = offset ?? (isPair ? 0 : Double(bytes.count))
    if second { put(Int64(start.isFinite ? start : -1), 168) } else { real(start, 108, 0) }
    real(slope, 112, 176)
    real(intercept, 116, 184)
    if second { put(Int32(units), 500) } else { bytes[123] = UInt8(units) }
    if second {
      put(Int32(qform), 344)
      put(Int32(sform), 348)
    } else {
      put(Int16(qform), 252)
      put(Int16(sform), 254)
    }
    for i in 0..<3 {
      real(quaternion[i], 256 + 4 * i, 352 + 8 * i)
      real(qoffset[i], 268 + 4 * i, 376 + 8 * i)
    }
    for i in 0..<12 { real(srow[i], 280 + 4 * i, 400 + 8 * i) }
    return bytes
  }

  /// int16 voxels 0, 1, 2, … in the sample's byte order.
  var voxels: [UInt8] {
    let count = dim[1...max(1, min(dim[0], 7))].reduce(1, *)
    return (0..<count).flatMap { value in
      let bits = UInt16(truncatingIfNeeded: value)
      let pair = [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
      return isBigEndian ? pair.reversed() : pair
    }
  }
  var file: [UInt8] { header + voxels }
}

func gzipped(_ bytes: [UInt8], at path: String) throws {
  let file = try AtomicFile(path)
  let gzip = try GzipWriter(file, level: 6)
  try bytes.withUnsafeBytes { try gzip.write($0) }
  try gzip.finish()
  try file.commit()
}

/// A volume of ours filled with a function of the index.
func makeVolume(_ dtype: DType, _ geometry: Geometry, channels: Int = 1, _ value: (Int) -> Double) throws -> Volume {
  let volume = try Volume(allocating: dtype, channels: channels, geometry: geometry, in: MemoryBudget())
  for index in 0..<geometry.voxelCount * channels { volume.mutableBase.storeElement(dtype, index, value(index)) }
  return volume
}

extension UnsafeMutableRawPointer {
  func storeElement(_ dtype: DType, _ index: Int, _ value: Double) {
    func put<T: BitwiseCopyable>(_ value: T) { storeBytes(of: value, toByteOffset: index * MemoryLayout<T>.size, as: T.self) }
    switch dtype {
    case .float64: put(value)
    case .float32: put(Float(value))
    case .float16: put(float16Bits(Float(value)))
    case .bfloat16: put(bfloat16Bits(Float(value)))
    case .int64: put(Int64(value))
    case .int32: put(Int32(value))
    case .int16: put(Int16(value))
    case .int8: put(Int8(value))
    case .uint64: put(UInt64(value))
    case .uint32: put(UInt32(value))
    case .uint16: put(UInt16(value))
    case .uint8, .bool: put(UInt8(value))
    }
  }
}

/// All values in file order.
func values(_ volume: Volume) -> [Double] {
  let d = volume.geometry.dims
  var result: [Double] = []
  for channel in 0..<volume.channels {
    for z in 0..<d[2] { for y in 0..<d[1] { for x in 0..<d[0] { result.append(volume.value(x, y, z, channel: channel)) } } }
  }
  return result
}

func expectEqual<Value: Equatable>(_ got: Value, _ expected: Value, at location: SourceLocation = #_sourceLocation) {
  #expect(got == expected, sourceLocation: location)
}
