internal import Platform
internal import Tensors

/// The fields of a NIfTI-1 or NIfTI-2 header that matter here, checked as far as they can be without the data.
struct NIfTIHeader {
  let version: Int
  /// Stored in the other byte order than this machine's.
  let isSwapped: Bool
  /// The voxels are in a separate `.img` file.
  let isPair: Bool
  /// Number of axes of the file after dropping trailing axes of length 1 beyond the third: 2, 3 or 4.
  let rank: Int
  /// Extents along x, y, z, channels.
  let dims: [Int]
  let dtype: DType
  let pixdim: [Double]
  let dataOffset: Int
  let slope: Double
  let intercept: Double
  let units: Int
  let qformCode: Int
  let sformCode: Int
  let quaternion: [Double]
  let qoffset: [Double]
  let srow: [Double]

  static let longestHeader = 540

  /// Throws: `.format`, `.unsupported`.
  init(_ bytes: [UInt8], _ path: String) throws(MedDINOError) {
    let kind = try Self.kind(bytes, path)
    let fields = NIfTIFields(bytes: bytes, isSwapped: kind.isSwapped)
    version = kind.version
    isSwapped = kind.isSwapped
    isPair = kind.isPair
    let first = kind.version == 1
    dtype = try Self.dtype(fields.int16(first ? 70 : 12), path)
    (rank, dims) = try Self.extents(fields, first, path)
    pixdim = (0..<8).map { first ? fields.float(76 + 4 * $0) : fields.double(104 + 8 * $0) }
    slope = first ? fields.float(112) : fields.double(176)
    intercept = first ? fields.float(116) : fields.double(184)
    units = first ? Int(bytes[123]) : fields.int32(500)
    qformCode = first ? fields.int16(252) : fields.int32(344)
    sformCode = first ? fields.int16(254) : fields.int32(348)
    quaternion = (0..<3).map { first ? fields.float(256 + 4 * $0) : fields.double(352 + 8 * $0) }
    qoffset = (0..<3).map { first ? fields.float(268 + 4 * $0) : fields.double(376 + 8 * $0) }
    srow = (0..<12).map { first ? fields.float(280 + 4 * $0) : fields.double(400 + 8 * $0) }
    let offset = first ? fields.float(108) : Double(fields.int64(168))
    dataOffset = try Self.dataOffset(offset, first, kind.isPair, path)
    for axis in 1...min(rank, 3) {
      guard pixdim[axis].isFinite, pixdim[axis] != 0 else {
        throw .format("\(path): pixdim[\(axis)] is \(pixdim[axis]), expected a finite spacing other than 0")
      }
    }
  }

  /// Whether a file starts as NIfTI and Analyze headers do: with their length, in either byte order.
  static func isHeader(_ bytes: [UInt8]) -> Bool {
    guard bytes.count >= 348 else { return false }
    let sizes = [false, true].map { NIfTIFields(bytes: bytes, isSwapped: $0).int32(0) }
    return sizes.contains(348) || sizes.contains(540)
  }

  /// Bytes of all voxels. Throws: `.format` when the product does not fit.
  func byteCount(_ path: String) throws(MedDINOError) -> Int {
    try Checked.product([dtype.byteCount] + dims, "\(path): dim \(dims)")
  }

  private static func kind(
    _ bytes: [UInt8], _ path: String
  ) throws(MedDINOError) -> (version: Int, isSwapped: Bool, isPair: Bool) {
    guard bytes.count >= 348 else { throw .format("\(path): \(bytes.count) bytes, a NIfTI header needs 348") }
    let size = NIfTIFields(bytes: bytes, isSwapped: false).int32(0)
    let swappedSize = NIfTIFields(bytes: bytes, isSwapped: true).int32(0)
    if size == 348 || swappedSize == 348 {
      let magic = Array(bytes[344..<348])
      if magic == [0x6e, 0x2b, 0x31, 0] { return (1, size != 348, false) }
      if magic == [0x6e, 0x69, 0x31, 0] { return (1, size != 348, true) }
      throw magic.allSatisfy { $0 == 0 }
        ? .unsupported("\(path): Analyze 7.5 files do not say which side is left; expected NIfTI")
        : .format("\(path): damaged NIfTI magic")
    }
    if bytes[128..<132].elementsEqual("DICM".utf8) {
      throw .unsupported("\(path): a DICOM file; expected NIfTI, which converters such as dcm2niix make of a DICOM series")
    }
    guard size == 540 || swappedSize == 540 else {
      throw .format("\(path): not a NIfTI file (sizeof_hdr is \(size), expected 348 or 540)")
    }
    guard bytes.count >= 540 else { throw .format("\(path): \(bytes.count) bytes, a NIfTI-2 header needs 540") }
    let magic = Array(bytes[4..<12])
    let tail: [UInt8] = [0x32, 0, 0x0d, 0x0a, 0x1a, 0x0a]
    if magic == [0x6e, 0x2b] + tail { return (2, size != 540, false) }
    if magic == [0x6e, 0x69] + tail { return (2, size != 540, true) }
    throw .format("\(path): damaged NIfTI-2 magic")
  }

  private static func dtype(_ code: Int, _ path: String) throws(MedDINOError) -> DType {
    switch code {
    case 2: return .uint8
    case 4: return .int16
    case 8: return .int32
    case 16: return .float32
    case 64: return .float64
    case 256: return .int8
    case 512: return .uint16
    case 768: return .uint32
    case 1024: return .int64
    case 1280: return .uint64
    default:
      let names = [
        1: "1-bit", 32: "complex64", 128: "RGB24", 1536: "float128", 1792: "complex128", 2048: "complex256", 2304: "RGBA32",
      ]
      if let name = names[code] { throw .unsupported("\(path): voxels are \(name), expected integers or floats of 8 to 64 bits") }
      throw .format("\(path): unknown datatype code \(code)")
    }
  }

  private static func extents(
    _ fields: NIfTIFields, _ first: Bool, _ path: String
  ) throws(MedDINOError) -> (rank: Int, dims: [Int]) {
    let dim = (0..<8).map { first ? fields.int16(40 + 2 * $0) : fields.int64(16 + 8 * $0) }
    guard (1...7).contains(dim[0]) else { throw .format("\(path): dim[0] is \(dim[0]), expected 1...7") }
    guard dim[0] >= 2 else { throw .unsupported("\(path): one-dimensional, expected 2 to 4 axes") }
    var rank = 2
    for axis in 1...dim[0] {
      guard (1...Int(Int32.max)).contains(dim[axis]) else {
        throw .format("\(path): dim[\(axis)] is \(dim[axis]), expected 1...2147483647")
      }
      if axis > 4, dim[axis] > 1 {
        throw .unsupported("\(path): dim[\(axis)] is \(dim[axis]); at most four axes (x, y, z, channels) are supported")
      }
      if axis == 3 || dim[axis] > 1 { rank = max(rank, axis) }
    }
    return (rank, (1...4).map { $0 <= rank ? dim[$0] : 1 })
  }

  private static func dataOffset(
    _ value: Double, _ first: Bool, _ isPair: Bool, _ path: String
  ) throws(MedDINOError) -> Int {
    guard value.isFinite, value >= 0, value < 0x1p53 else { throw .format("\(path): vox_offset is \(value)") }
    if isPair { return Int(value) }
    if value == 0 { return first ? 352 : 544 }
    guard value >= (first ? 348 : 540) else {
      throw .format("\(path): vox_offset is \(value), the data would start inside the header")
    }
    return Int(value)
  }
}

/// Numbers at byte positions of a header, in either byte order. Positions are constants of the format, inside `bytes`.
struct NIfTIFields {
  let bytes: [UInt8]
  let isSwapped: Bool

  private func load<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _: T.Type) -> T {
    let value = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: T.self) }
    return isSwapped ? value.byteSwapped : value
  }
  func int16(_ offset: Int) -> Int { Int(load(offset, Int16.self)) }
  func int32(_ offset: Int) -> Int { Int(load(offset, Int32.self)) }
  func int64(_ offset: Int) -> Int { Int(load(offset, Int64.self)) }
  func float(_ offset: Int) -> Double { Double(Float(bitPattern: load(offset, UInt32.self))) }
  func double(_ offset: Int) -> Double { Double(bitPattern: load(offset, UInt64.self)) }
}
