internal import Platform
internal import Tensors

/// Lays out the header of a volume, little endian, with the four bytes that say "no extensions".
struct NIfTIHeaderWriter {
  private(set) var bytes: [UInt8]
  private let isSecond: Bool

  init(_ volume: Volume) throws(MedDINOError) {
    let geometry = volume.geometry
    let isPlane = volume.isPlane && geometry.dims[2] == 1 && volume.channels == 1
    let rank = isPlane ? 2 : volume.channels > 1 ? 4 : 3
    isSecond = (geometry.dims + [volume.channels]).contains { $0 > 32767 }
    bytes = [UInt8](repeating: 0, count: isSecond ? 544 : 352)
    putIdentity()
    let extents = [rank] + geometry.dims + [volume.channels, 1, 1, 1]
    for (axis, value) in extents.enumerated() { putExtent(value, axis) }
    let (code, bits) = Self.code(volume.dtype)
    putShort(code, isSecond ? 12 : 70)
    putShort(bits, isSecond ? 14 : 72)
    var spacing = geometry.spacing
    if isPlane { spacing[2] = 1 }
    putReal(volume.slope, 112, 176)
    putReal(volume.intercept, 116, 184)
    putReal(isSecond ? 544 : 352, 108, 168)
    if isSecond { putInteger(Int64(544), 168) }
    try putOrientation(geometry, spacing, rank)
  }

  private mutating func putIdentity() {
    if isSecond {
      putInteger(Int32(540), 0)
      for (index, byte) in [0x6e, 0x2b, 0x32, 0, 0x0d, 0x0a, 0x1a, 0x0a].enumerated() { bytes[4 + index] = UInt8(byte) }
      putInteger(Int32(10), 500)
    } else {
      putInteger(Int32(348), 0)
      bytes[38] = 0x72  // "regular", a relic that some readers look for
      for (index, byte) in [0x6e, 0x2b, 0x31, 0].enumerated() { bytes[344 + index] = UInt8(byte) }
      bytes[123] = 10  // mm and seconds
    }
  }

  private mutating func putOrientation(_ geometry: Geometry, _ spacing: [Double], _ rank: Int) throws(MedDINOError) {
    let direction = Matrix3(geometry.direction).flippedXY
    guard var rotation = direction.normalizedColumns?.polarFactor else {
      throw .invalid("direction is \(geometry.direction), expected three independent axes")
    }
    let isMirrored = rotation.determinant < 0
    if isMirrored { for row in 0..<3 { rotation[row, 2] = -rotation[row, 2] } }
    let origin = [-geometry.origin[0], -geometry.origin[1], geometry.origin[2]]
    for (index, value) in ([isMirrored ? -1 : 1] + spacing + [rank == 4 ? 1 : 0]).enumerated() {
      putReal(value, 76 + 4 * index, 104 + 8 * index)
    }
    for (index, value) in (rotation.quaternion + origin).enumerated() {
      putReal(value, 256 + 4 * index, 352 + 8 * index)
    }
    for row in 0..<3 {
      for axis in 0..<3 {
        let cell = row * 4 + axis
        putReal(direction[row, axis] * spacing[axis], 280 + 4 * cell, 400 + 8 * cell)
      }
      putReal(origin[row], 280 + 4 * (row * 4 + 3), 400 + 8 * (row * 4 + 3))
    }
    if isSecond {
      putInteger(Int32(1), 344)
      putInteger(Int32(1), 348)
    } else {
      putShort(1, 252)
      putShort(1, 254)
    }
  }

  private static func code(_ dtype: DType) -> (code: Int, bits: Int) {
    switch dtype {
    case .uint8, .bool: (2, 8)
    case .int16: (4, 16)
    case .int32: (8, 32)
    case .float32, .float16, .bfloat16: (16, 32)
    case .float64: (64, 64)
    case .int8: (256, 8)
    case .uint16: (512, 16)
    case .uint32: (768, 32)
    case .int64: (1024, 64)
    case .uint64: (1280, 64)
    }
  }

  private mutating func putInteger<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
    withUnsafeBytes(of: value.littleEndian) { raw in
      for (index, byte) in raw.enumerated() { bytes[offset + index] = byte }
    }
  }
  private mutating func putShort(_ value: Int, _ offset: Int) { putInteger(Int16(truncatingIfNeeded: value), offset) }
  private mutating func putExtent(_ value: Int, _ axis: Int) {
    if isSecond { putInteger(Int64(value), 16 + 8 * axis) } else { putShort(value, 40 + 2 * axis) }
  }
  private mutating func putReal(_ value: Double, _ first: Int, _ second: Int) {
    if isSecond { putInteger(value.bitPattern, second) } else { putInteger(Float(value).bitPattern, first) }
  }
}
