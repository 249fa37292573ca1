import Platform

/// Where the members of a ZIP file lie. PyTorch stores them as they are; a compressed one is listed, but never decompressed.
///
/// Only the directory and the local headers are read. Every position and size is checked against the file, members may not overlap.
/// Source: model specification 2.6.
struct ZipDirectory {
  struct Member: Sendable {
    let name: String
    /// Where the bytes begin, past the local header.
    let offset: Int
    let size: Int
    /// The bytes are the contents themselves.
    let isPlain: Bool
  }
  private(set) var members: [String: Member] = [:]
  static let directoryLimit = 64 << 20
  static let memberLimit = 1 << 18

  private let source: any ByteSource

  /// Throws: `.format` when the directory is damaged, `.unsupported` for encrypted members, `.io`.
  init(_ source: any ByteSource) throws(MedDINOError) {
    self.source = source
    let end = try ZipEnd(source)
    guard end.count <= Self.memberLimit, end.size <= Self.directoryLimit else {
      throw .format("\(source.name): a directory of \(end.count) members in \(end.size) bytes, more than any checkpoint has")
    }
    let directory = LittleEndian(try source.bytes(at: end.offset, count: end.size))
    var entries: [Entry] = []
    var at = 0
    for _ in 0..<end.count { entries.append(try entry(directory, &at)) }
    guard at == end.size else { throw .format("\(source.name): the directory has \(end.size - at) bytes too many") }
    entries.sort { $0.headerOffset < $1.headerOffset }
    for (index, entry) in entries.enumerated() {
      let limit = index + 1 < entries.count ? entries[index + 1].headerOffset : end.offset
      let member = try locate(entry, limit: limit)
      guard members.updateValue(member, forKey: member.name) == nil else {
        throw .format("\(source.name): member \"\(member.name)\" appears twice")
      }
    }
  }

  private struct Entry {
    let name: String
    let size: Int
    let isPlain: Bool
    let headerOffset: Int
  }

  private func damaged(_ what: String) -> MedDINOError { .format("\(source.name): damaged ZIP directory: \(what)") }

  private func entry(_ directory: LittleEndian, _ at: inout Int) throws(MedDINOError) -> Entry {
    guard directory.u32(at) == 0x0201_4b50, let flags = directory.u16(at + 8), let method = directory.u16(at + 10),
      let stored = directory.u32(at + 20), let plain = directory.u32(at + 24), let nameLength = directory.u16(at + 28),
      let extraLength = directory.u16(at + 30), let commentLength = directory.u16(at + 32), let disk = directory.u16(at + 34),
      let header = directory.u32(at + 42), at + 46 + nameLength + extraLength + commentLength <= directory.bytes.count
    else { throw damaged("an entry is cut off or not one") }
    let nameStart = at + 46
    let extraStart = nameStart + nameLength
    let name = try checkedName(Array(directory.bytes[nameStart..<extraStart]))
    var wide = WideFields(directory, from: extraStart, to: extraStart + extraLength)
    guard let plainSize = wide.resolve(plain), let size = wide.resolve(stored), let headerOffset = wide.resolve(header),
      disk == 0 || disk == 0xffff
    else { throw damaged("sizes of \"\(name)\"") }
    guard flags & 1 == 0 else { throw .unsupported("\(source.name): member \"\(name)\" is encrypted") }
    at = extraStart + extraLength + commentLength
    return Entry(name: name, size: size, isPlain: method == 0 && size == plainSize, headerOffset: headerOffset)
  }

  private func checkedName(_ bytes: [UInt8]) throws(MedDINOError) -> String {
    guard let name = String(validating: bytes, as: UTF8.self), !name.isEmpty, !bytes.contains(0), !bytes.contains(0x5c) else {
      throw damaged("a member's name")
    }
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.first != "", !parts.contains(".."), !parts.contains(".") else { throw damaged("unsafe member name \"\(name)\"") }
    return name
  }

  /// The local header's own lengths count: PyTorch pads its extra field to align the data.
  private func locate(_ entry: Entry, limit: Int) throws(MedDINOError) -> Member {
    guard entry.headerOffset <= limit, limit - entry.headerOffset >= 30 else { throw damaged("position of \"\(entry.name)\"") }
    let header = LittleEndian(try source.bytes(at: entry.headerOffset, count: 30))
    guard header.u32(0) == 0x0403_4b50, let nameLength = header.u16(26), let extraLength = header.u16(28),
      nameLength == entry.name.utf8.count
    else { throw damaged("local header of \"\(entry.name)\"") }
    let offset = entry.headerOffset + 30 + nameLength + extraLength
    guard offset <= limit, entry.size <= limit - offset else { throw damaged("\"\(entry.name)\" reaches into what follows it") }
    guard try source.bytes(at: entry.headerOffset + 30, count: nameLength) == Array(entry.name.utf8) else {
      throw damaged("local header of \"\(entry.name)\" has another name")
    }
    return Member(name: entry.name, offset: offset, size: entry.size, isPlain: entry.isPlain)
  }
}

/// The 64-bit values of an entry's extra field, taken in order for each 32-bit field that is full.
private struct WideFields {
  private var values: [Int] = []

  init(_ directory: LittleEndian, from start: Int, to end: Int) {
    var at = start
    while at + 4 <= end, let identifier = directory.u16(at), let length = directory.u16(at + 2), at + 4 + length <= end {
      if identifier == 1 {
        for place in stride(from: 0, to: length - 7, by: 8) { values.append(directory.u64(at + 4 + place) ?? -1) }
      }
      at += 4 + length
    }
    values.reverse()
  }
  mutating func resolve(_ field: Int) -> Int? {
    guard field == 0xffff_ffff else { return field }
    return values.popLast().flatMap { $0 >= 0 ? $0 : nil }
  }
}

/// The record at the end of a ZIP file: where its directory lies.
private struct ZipEnd {
  var count: Int
  var size: Int
  var offset: Int

  init(_ source: any ByteSource) throws(MedDINOError) {
    let tailLength = min(source.size, 22 + 0xffff)
    let tailStart = source.size - tailLength
    let tail = LittleEndian(try source.bytes(at: tailStart, count: tailLength))
    guard let at = Self.find(tail), let disk = tail.u16(at + 4), let count = tail.u16(at + 10), let size = tail.u32(at + 12),
      let offset = tail.u32(at + 16)
    else { throw .format("\(source.name): truncated: the ZIP directory at its end is missing") }
    guard disk == 0 || disk == 0xffff else { throw .unsupported("\(source.name): part of a ZIP file in several volumes") }
    (self.count, self.size, self.offset) = (count, size, offset)
    var end = tailStart + at
    if count == 0xffff || size == 0xffff_ffff || offset == 0xffff_ffff { end = try widen(source, before: end) }
    guard self.offset <= end, self.size <= end - self.offset else {
      throw .format("\(source.name): the ZIP directory lies outside the file")
    }
  }

  private static func find(_ tail: LittleEndian) -> Int? {
    var at = tail.bytes.count - 22
    while at >= 0 {
      if tail.u32(at) == 0x0605_4b50, tail.u16(at + 20) == tail.bytes.count - at - 22 { return at }
      at -= 1
    }
    return nil
  }

  /// Takes full fields from the ZIP64 record; returns where that record begins.
  private mutating func widen(_ source: any ByteSource, before end: Int) throws(MedDINOError) -> Int {
    let broken = MedDINOError.format("\(source.name): damaged ZIP64 directory")
    guard end >= 20 else { throw broken }
    let locator = LittleEndian(try source.bytes(at: end - 20, count: 20))
    guard locator.u32(0) == 0x0706_4b50, let position = locator.u64(8), position <= end - 20, end - 20 - position >= 56 else {
      throw broken
    }
    let record = LittleEndian(try source.bytes(at: position, count: 56))
    guard record.u32(0) == 0x0606_4b50, let wideCount = record.u64(32), let wideSize = record.u64(40),
      let wideOffset = record.u64(48)
    else { throw broken }
    if count == 0xffff { count = wideCount }
    if size == 0xffff_ffff { size = wideSize }
    if offset == 0xffff_ffff { offset = wideOffset }
    return position
  }
}
