internal import Platform

/// One row of a shard's index: where a slice lies, what it is, and how to see that it is whole.
///
/// A row is 48 bytes, little endian; NumPy reads the index as a structured array.
public struct SliceRow: Equatable, Sendable {
  /// First byte of the `.npy` file in the shard, and its length.
  public var offset: Int
  public var bytes: Int
  public var rows: Int
  public var columns: Int
  /// Number of the volume in `cases.json`.
  public var caseNumber: Int
  /// Number of the slice in its volume, from feet to head.
  public var slice: Int
  /// Centre of the slice along the axis from feet to head. Units: mm, in the coordinates of its volume.
  public var position: Float
  /// Of the `.npy` file.
  public var crc: UInt32
  /// Of the pixels as they were published, by which duplicates are found.
  public var digest: SliceDigest

  public init(
    offset: Int, bytes: Int, rows: Int, columns: Int, caseNumber: Int, slice: Int, position: Float, crc: UInt32, digest: SliceDigest
  ) {
    self.offset = offset
    self.bytes = bytes
    self.rows = rows
    self.columns = columns
    self.caseNumber = caseNumber
    self.slice = slice
    self.position = position
    self.crc = crc
    self.digest = digest
  }

  static let byteCount = 48
  /// Rows and columns of a slice that the index and memory can hold.
  public static let largestSide = 16384

  static let descr: PythonLiteral = {
    let fields: [(String, String)] = [
      ("offset", "<u8"), ("bytes", "<u4"), ("rows", "<u2"), ("columns", "<u2"), ("case", "<u4"), ("slice", "<u4"), ("position", "<f4"),
      ("crc32", "<u4"),
    ]
    return .list(
      fields.map { .tuple([.string($0.0), .string($0.1)]) } + [.tuple([.string("digest"), .string("<u8"), .tuple([.integer(2)])])])
  }()

  var encoded: [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(Self.byteCount)
    func put<T: FixedWidthInteger>(_ value: T) { withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) } }
    put(UInt64(clamping: offset))
    put(UInt32(clamping: bytes))
    put(UInt16(clamping: rows))
    put(UInt16(clamping: columns))
    put(UInt32(clamping: caseNumber))
    put(UInt32(clamping: slice))
    put(position.bitPattern)
    put(crc)
    put(digest.high)
    put(digest.low)
    return out
  }

  /// `bytes`: 48 of them.
  init(_ bytes: UnsafeRawBufferPointer) {
    func get<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _: T.Type) -> T {
      T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }
    offset = Int(clamping: get(0, UInt64.self))
    self.bytes = Int(get(8, UInt32.self))
    rows = Int(get(12, UInt16.self))
    columns = Int(get(14, UInt16.self))
    caseNumber = Int(get(16, UInt32.self))
    slice = Int(get(20, UInt32.self))
    position = Float(bitPattern: get(24, UInt32.self))
    crc = get(28, UInt32.self)
    digest = SliceDigest(high: get(32, UInt64.self), low: get(40, UInt64.self))
  }

  /// Refuses a row that cannot be of a shard of `size` bytes. Throws: `.format` naming `source`.
  func check(in size: Int, _ source: String) throws(MedDINOError) {
    let header = NPYHeader.bytes(SlicePixels.descr, shape: [rows, columns]).count
    guard (1...Self.largestSide).contains(rows), (1...Self.largestSide).contains(columns), bytes == header + rows * columns * 2,
      offset >= TarHeader.blockSize, offset <= size - bytes
    else {
      throw .format(
        "\(source): the index names \(bytes) bytes at \(offset) for \(rows) × \(columns) pixels, the shard has \(size) bytes")
    }
  }
}

/// The stored pixels: whole Hounsfield units in 16 bits.
enum SlicePixels {
  static let descr = PythonLiteral.string("<i2")
}

/// Half of a SHA-256: two slices with equal digests are equal.
public struct SliceDigest: Hashable, Sendable {
  public let high: UInt64
  public let low: UInt64
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }
  /// The first 16 of 32 bytes. Fewer bytes count as zeros.
  public init(_ hash: [UInt8]) {
    func word(_ start: Int) -> UInt64 { (start..<start + 8).reduce(0) { $0 << 8 | UInt64($1 < hash.count ? hash[$1] : 0) } }
    self.init(high: word(0), low: word(8))
  }
}
