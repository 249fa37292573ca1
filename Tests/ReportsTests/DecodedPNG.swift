import CZlib
import Platform
import Reports
import Testing

/// Enough of a PNG reader to check ours: every chunk's CRC, one zlib stream, the row filters 0 to 2.
struct DecodedPNG {
  private(set) var width = 0
  private(set) var height = 0
  private(set) var samples = 0
  private(set) var dataChunks = 0
  private(set) var pixels: [UInt8] = []
  /// Row filters that occur.
  private(set) var filters: Set<UInt8> = []

  init(_ path: String) throws { try self.init(InputFile.contents(path)) }

  init(_ file: [UInt8]) throws {
    try #require(file.starts(with: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]))
    func number(_ at: Int) -> Int { file[at..<at + 4].reduce(0) { $0 << 8 | Int($1) } }
    var at = 8
    var packed: [UInt8] = []
    var names: [String] = []
    while at < file.count {
      let count = number(at)
      try #require(at + 12 + count <= file.count)
      let name = String(decoding: file[at + 4..<at + 8], as: UTF8.self)
      names.append(name)
      let sum = file[at + 4..<at + 8 + count].withUnsafeBufferPointer { crc32(0, $0.baseAddress, UInt32($0.count)) }
      try #require(Int(sum) == number(at + 8 + count), "CRC of \(name)")
      if name == "IHDR" {
        width = number(at + 8)
        height = number(at + 12)
        try #require(file[at + 16] == 8 && file[at + 18] == 0 && file[at + 19] == 0 && file[at + 20] == 0)
        samples = try #require([0: 1, 2: 3, 6: 4][file[at + 17]])
      } else if name == "IDAT" {
        dataChunks += 1
        packed += file[at + 8..<at + 8 + count]
      }
      at += 12 + count
    }
    try #require(names.first == "IHDR" && names.last == "IEND")
    try unpack(packed)
  }

  func colour(_ x: Int, _ y: Int) -> Colour {
    let at = (y * width + x) * samples
    return Colour(pixels[at], pixels[at + 1], pixels[at + 2], 255)
  }

  private mutating func unpack(_ packed: [UInt8]) throws {
    let stride = width * samples
    var rows = [UInt8](repeating: 0, count: (stride + 1) * height)
    var length = uLong(rows.count)
    try #require(uncompress(&rows, &length, packed, uLong(packed.count)) == Z_OK)
    try #require(Int(length) == rows.count)
    pixels = [UInt8](repeating: 0, count: stride * height)
    for row in 0..<height {
      let filter = rows[row * (stride + 1)]
      try #require(filter <= 2)
      filters.insert(filter)
      for i in 0..<stride {
        let left = filter == 1 && i >= samples ? pixels[row * stride + i - samples] : 0
        let above = filter == 2 && row > 0 ? pixels[(row - 1) * stride + i] : 0
        pixels[row * stride + i] = rows[row * (stride + 1) + 1 + i] &+ left &+ above
      }
    }
  }
}
