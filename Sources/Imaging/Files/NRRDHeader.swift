internal import Platform
internal import Tensors

/// The fields of an NRRD header as text, and what they say about voxels and files.
/// Source: definition of the NRRD file format, version 5.
struct NRRDHeader {
  let path: String
  private(set) var fields: [String: String] = [:]
  /// Names behind "data file: LIST".
  private(set) var listed: [String] = []
  /// Where attached voxels start.
  private let end: Int

  /// Every field of the format; names are compared without spaces and in lower case.
  private static let known: Set<String> = [
    "content", "number", "type", "blocksize", "dimension", "space", "spacedimension", "sizes", "spacings", "thicknesses", "axismins",
    "axismaxs", "spacedirections", "centers", "centerings", "kinds", "labels", "units", "min", "max", "oldmin", "oldmax", "endian",
    "encoding", "lineskip", "byteskip", "sampleunits", "spaceunits", "spaceorigin", "measurementframe", "datafile",
  ]

  /// Whether a file starts as NRRD files do.
  static func isMagic(_ bytes: [UInt8]) -> Bool { bytes.starts(with: "NRRD".utf8) }

  /// Throws: `.format` for a header that breaks a rule of the format, `.unsupported` for versions that do not exist yet, `.io`.
  init(_ file: InputFile) throws(MedDINOError) {
    path = file.path
    let lines = HeaderLines(file)
    guard let magic = try lines.next(), magic.hasPrefix("NRRD") else {
      throw .format("\(path): not an NRRD file, its first line is no magic")
    }
    guard let version = Int(magic.dropFirst(4)), version >= 1 else {
      throw .format("\(path): damaged NRRD magic \(HeaderText.quoted(magic))")
    }
    guard version <= 5 else { throw .unsupported("\(path): version \(version) of NRRD, expected 1 to 5") }
    while let line = try lines.next(), !line.isEmpty {
      if line.hasPrefix("#") { continue }
      guard let colon = line.firstIndex(of: ":") else {
        throw .format("\(path): line \(HeaderText.quoted(line)) of the header is no field, expected \"name: value\"")
      }
      let value = line[line.index(after: colon)...]
      // "key:=value" is free text
      if value.hasPrefix("=") { continue }
      let name = line[..<colon].lowercased().filter { $0 != " " }
      guard Self.known.contains(name) else { throw .format("\(path): unknown field \(HeaderText.quoted(line[..<colon]))") }
      let place = name == "centers" ? "centerings" : name
      guard fields.updateValue(HeaderText.trimmed(value), forKey: place) == nil else {
        throw .format("\(path): field \(HeaderText.quoted(line[..<colon])) is there twice")
      }
      if name == "datafile", HeaderText.words(fields[name] ?? "").first == "LIST" {
        while let name = try lines.next() { if !HeaderText.trimmed(name).isEmpty { listed.append(HeaderText.trimmed(name)) } }
      }
    }
    end = lines.position
  }

  func required(_ field: String) throws(MedDINOError) -> String {
    guard let value = fields[field] else { throw .format("\(path): field \(field) is missing") }
    return value
  }

  func dtype() throws(MedDINOError) -> DType {
    let text = try required("type")
    switch text.lowercased().split(separator: " ").joined(separator: " ") {
    case "signed char", "int8", "int8_t", "char": return .int8
    case "uchar", "unsigned char", "uint8", "uint8_t": return .uint8
    case "short", "short int", "signed short", "signed short int", "int16", "int16_t": return .int16
    case "ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t": return .uint16
    case "int", "signed int", "int32", "int32_t": return .int32
    case "uint", "unsigned int", "uint32", "uint32_t": return .uint32
    case "longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t": return .int64
    case "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t": return .uint64
    case "float": return .float32
    case "double": return .float64
    case "block": throw .unsupported("\(path): voxels are blocks of bytes, expected integers or floats of 8 to 64 bits")
    default: throw .format("\(path): unknown type \(HeaderText.quoted(text))")
    }
  }

  /// Throws: `.format`, `.unsupported` for encodings that are not read, and for data files elsewhere; `.io` for missing ones.
  func source(_ dtype: DType, _ extents: [Int]) throws(MedDINOError) -> VoxelSource {
    var source = VoxelSource(pieces: try pieces(extents))
    let encoding = try required("encoding")
    switch encoding.lowercased() {
    case "raw": source.encoding = .raw
    case "gzip", "gz": source.encoding = .deflated
    case "ascii", "text", "txt": source.encoding = .text
    case "hex", "bzip2", "bz2", "zrl":
      throw .unsupported("\(path): encoding \(encoding), expected raw, gzip or ascii")
    default: throw .format("\(path): unknown encoding \(HeaderText.quoted(encoding))")
    }
    if source.encoding != .text, dtype.byteCount > 1 {
      let endian = try required("endian")
      guard ["little", "big"].contains(endian.lowercased()) else {
        throw .format("\(path): endian is \(HeaderText.quoted(endian)), expected little or big")
      }
      source.isSwapped = endian.lowercased() == "big"
    }
    if let text = fields["lineskip"] { source.skippedLines = try HeaderText.integer(text, "\(path): line skip") }
    let bytes = try fields["byteskip"].map { text throws(MedDINOError) in try HeaderText.integer(text, "\(path): byte skip") } ?? 0
    guard source.skippedLines >= 0, bytes >= -1 else {
      throw .format(
        "\(path): line skip \(source.skippedLines) and byte skip \(bytes), expected 0 or more, and -1 for a byte skip to the end")
    }
    guard bytes >= 0 || source.encoding == .raw else { throw .format("\(path): byte skip -1 with encoding \(encoding), expected raw") }
    source.skip = bytes < 0 ? .allButVoxels : .bytes(bytes)
    return source
  }

  private func pieces(_ extents: [Int]) throws(MedDINOError) -> [VoxelSource.Piece] {
    guard let text = fields["datafile"] else { return [VoxelSource.Piece(path: path, start: end)] }
    let words = HeaderText.words(text)
    var pieces: [VoxelSource.Piece] = []
    func add(_ name: String) throws(MedDINOError) { pieces.append(VoxelSource.Piece(path: try DataFileName.path(name, of: path))) }
    if words.first == "LIST" {
      let axes = words.count > 1 ? try HeaderText.integer(words[1], "\(path): data file: LIST") : nil
      try DataFileName.checkCount(listed.count, extents, axesPerFile: axes ?? extents.count - 1, of: path)
      for name in listed { try add(name) }
    } else if let range = try numbering(words) {
      try DataFileName.checkCount(range.count, extents, axesPerFile: range.axes ?? extents.count - 1, of: path)
      for index in 0..<range.count { try add(range.name.name(range.first + index * range.step)) }
    } else {
      try add(text)
    }
    return pieces
  }

  private struct Numbering {
    let name: NumberedName
    let first: Int
    let step: Int
    let count: Int
    let axes: Int?
  }

  /// "slice%03d.raw 1 99 1 2": name, first, last, step and perhaps the axes of one file. nil for a plain name.
  private func numbering(_ words: [String]) throws(MedDINOError) -> Numbering? {
    guard let place = words.lastIndex(where: { $0.contains("%") }), let name = NumberedName(words[0...place].joined(separator: " ")),
      words.count > place + 1
    else { return nil }
    let numbers = words[(place + 1)...].compactMap { Int($0) }
    guard [3, 4].contains(numbers.count), words.count == place + 1 + numbers.count, numbers.allSatisfy({ $0.magnitude < 1 << 31 }),
      numbers[2] != 0, numbers[1] == numbers[0] || (numbers[1] > numbers[0]) == (numbers[2] > 0)
    else {
      throw .format("\(path): data file \(HeaderText.quoted(words.joined(separator: " "))), expected \"name%03d.raw first last step\"")
    }
    return Numbering(
      name: name, first: numbers[0], step: numbers[2], count: (numbers[1] - numbers[0]) / numbers[2] + 1,
      axes: numbers.count == 4 ? numbers[3] : nil)
  }
}
