internal import Platform
internal import Tensors

/// The fields of a MetaImage header as text, and what they say about voxels, files and grid.
///
/// As ITK reads them: the rows of TransformMatrix are the directions of the axes, in LPS; AnatomicalOrientation and CenterOfRotation say
/// nothing more. Source: documentation of MetaIO's tags for images.
struct MetaImageHeader {
  let path: String
  private(set) var fields: [String: String] = [:]
  /// Names behind "ElementDataFile = LIST".
  private(set) var listed: [String] = []
  /// Where attached voxels start.
  private let end: Int

  /// Names of the same thing, which older programs write.
  private static let synonyms = [
    "Position": "Offset", "Origin": "Offset", "ImagePosition": "Offset", "Orientation": "TransformMatrix", "Rotation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
  ]

  /// Whether a file starts as MetaImage files do: with lines of text "Name = value", among them the number of axes.
  static func isHeader(_ bytes: [UInt8]) -> Bool {
    for line in bytes.prefix(8000).split(separator: 0x0a) {
      guard line.allSatisfy({ (0x20..<0x7f).contains($0) || $0 == 0x0d || $0 == 0x09 || $0 >= 0x80 }) else { return false }
      guard let field = field(String(decoding: line, as: UTF8.self)) else { return false }
      if field.name == "NDims" { return true }
    }
    return false
  }

  private static func field(_ line: String) -> (name: String, value: String)? {
    guard let place = line.firstIndex(of: "=") ?? line.firstIndex(of: ":") else { return nil }
    let name = HeaderText.trimmed(line[..<place])
    guard !name.isEmpty, name.count <= 200 else { return nil }
    return (name, HeaderText.trimmed(line[line.index(after: place)...]))
  }

  /// Throws: `.format` for a header that breaks a rule of the format, `.unsupported` for other objects than images, `.io`.
  init(_ file: InputFile) throws(MedDINOError) {
    path = file.path
    let lines = HeaderLines(file)
    var names: Set<String> = []
    while fields["ElementDataFile"] == nil {
      guard let line = try lines.next() else { throw .format("\(path): field ElementDataFile is missing, which ends a MetaImage header") }
      if HeaderText.trimmed(line).isEmpty { continue }
      guard let (name, value) = Self.field(line) else {
        throw .format("\(path): line \(HeaderText.quoted(line)) of the header is no field, expected \"Name = value\"")
      }
      let place = Self.synonyms[name] ?? name
      let isNew = names.insert(name).inserted
      if let other = fields.updateValue(value, forKey: place), !isNew || HeaderText.words(other) != HeaderText.words(value) {
        throw .format("\(path): field \(place) is there twice, as \(HeaderText.quoted(other)) and \(HeaderText.quoted(value))")
      }
    }
    if HeaderText.words(fields["ElementDataFile"] ?? "").first == "LIST" {
      while let name = try lines.next() { if !HeaderText.trimmed(name).isEmpty { listed.append(HeaderText.trimmed(name)) } }
    }
    end = lines.position
    if let type = fields["ObjectType"], type != "Image" {
      throw .unsupported("\(path): ObjectType is \(HeaderText.quoted(type)), expected Image")
    }
  }

  private func required(_ field: String) throws(MedDINOError) -> String {
    guard let value = fields[field] else { throw .format("\(path): field \(field) is missing") }
    return value
  }

  private func flag(_ field: String, _ usual: Bool) -> Bool { fields[field].map { ["T", "t", "1"].contains($0.prefix(1)) } ?? usual }

  private func integer(_ field: String, _ usual: Int) throws(MedDINOError) -> Int {
    guard let text = fields[field] else { return usual }
    return try HeaderText.integer(text, "\(path): \(field)")
  }

  /// Throws: `.format` naming the field that breaks a rule, `.unsupported` for what no volume can say, `.io` for missing data files.
  func layout() throws(MedDINOError) -> VolumeLayout {
    let rank = try HeaderText.integer(try required("NDims"), "\(path): NDims")
    guard (2...4).contains(rank) else {
      throw (1...10).contains(rank)
        ? .unsupported("\(path): \(rank) axes, expected 2 to 4 (x, y, z, channels)") : .format("\(path): NDims is \(rank), expected 2 to 4")
    }
    let sizes = try HeaderText.extents(try required("DimSize"), count: rank, "\(path): DimSize")
    let channels = try integer("ElementNumberOfChannels", 1)
    guard (1...Int(Int32.max)).contains(channels) else {
      throw .format("\(path): ElementNumberOfChannels is \(channels), expected 1 or more")
    }
    guard channels == 1 || rank < 4 || sizes[3] == 1 else {
      throw .unsupported("\(path): \(channels) channels for each element of four axes, expected one or the other")
    }
    let dtype = try dtype()
    try checkScaling()
    let extents = [channels] + sizes
    return VolumeLayout(
      dtype: dtype, extents: extents, gridAxes: Array(1...min(rank, 3)), channelAxis: channels == 1 && rank == 4 ? 4 : 0,
      geometry: try geometry(sizes), source: try source(dtype, sizes))
  }

  private func dtype() throws(MedDINOError) -> DType {
    let text = try required("ElementType")
    switch text.hasSuffix("_ARRAY") ? String(text.dropLast(6)) : text {
    case "MET_CHAR", "MET_ASCII_CHAR": return .int8
    case "MET_UCHAR": return .uint8
    case "MET_SHORT": return .int16
    case "MET_USHORT": return .uint16
    // of four bytes wherever the file was written
    case "MET_INT", "MET_LONG": return .int32
    case "MET_UINT", "MET_ULONG": return .uint32
    case "MET_LONG_LONG": return .int64
    case "MET_ULONG_LONG": return .uint64
    case "MET_FLOAT": return .float32
    case "MET_DOUBLE": return .float64
    case "MET_STRING", "MET_OTHER", "MET_NONE", "MET_FLOAT_MATRIX":
      throw .unsupported("\(path): ElementType is \(text), expected integers or floats of 8 to 64 bits")
    default: throw .format("\(path): unknown ElementType \(HeaderText.quoted(text))")
    }
  }

  /// ITK reads such files as if the fields were not there: what the values then mean is anyone's guess.
  private func checkScaling() throws(MedDINOError) {
    for (field, neutral) in [("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0)] {
      guard let text = fields[field] else { continue }
      guard try HeaderText.reals(text, count: 1, "\(path): \(field)")[0] == neutral else {
        throw .unsupported(
          "\(path): \(field) is \(text), which readers disagree on; expected \(HeaderText.text(neutral)), with scaled voxels")
      }
    }
    if let unit = fields["DistanceUnits"], ["um", "cm"].contains(unit) {
      throw .unsupported("\(path): DistanceUnits are \(unit), which readers disagree on; expected mm")
    }
  }

  // MARK: grid

  private func geometry(_ sizes: [Int]) throws(MedDINOError) -> Geometry {
    let rank = sizes.count
    let axes = min(rank, 3)
    let ones = [Double](repeating: 1, count: rank)
    let spacing =
      try (fields["ElementSpacing"] ?? fields["ElementSize"]).map { text throws(MedDINOError) in
        try HeaderText.reals(text, count: rank, "\(path): ElementSpacing")
      } ?? ones
    let origin = try fields["Offset"].map { text throws(MedDINOError) in try HeaderText.reals(text, count: rank, "\(path): Offset") }
    let matrix = try fields["TransformMatrix"].map { text throws(MedDINOError) in
      try HeaderText.reals(text, count: rank * rank, "\(path): TransformMatrix")
    }
    var (lengths, directions): ([Double], [[Double]]) = ([], [])
    for axis in 0..<axes {
      guard spacing[axis].isFinite, spacing[axis] != 0 else {
        throw .format("\(path): ElementSpacing of axis \(axis) is \(spacing[axis]), expected a number of mm")
      }
      lengths.append(spacing[axis].magnitude)
      var direction = (0..<rank).map { matrix?[axis * rank + $0] ?? ($0 == axis ? 1 : 0) }
      guard rank < 4 || direction[3] == 0 else {
        throw .unsupported("\(path): TransformMatrix turns axis \(axis) into the fourth, expected three axes of space")
      }
      direction = direction.prefix(axes).map { spacing[axis] < 0 ? -$0 : $0 }
      let length = Matrix3.length((0..<3).map { $0 < axes ? direction[$0] : 0 })
      guard (length - 1).magnitude < 0.01 else {
        throw .format("\(path): row \(axis) of TransformMatrix has length \(length), expected 1")
      }
      directions.append(direction)
    }
    do throws(MedDINOError) {
      return try Geometry(
        Array(sizes.prefix(3)), spacing: lengths, directions: directions, origin: origin.map { Array($0.prefix(3)) } ?? [0, 0, 0])
    } catch { throw error.within(path) }
  }

  // MARK: voxels

  private func source(_ dtype: DType, _ sizes: [Int]) throws(MedDINOError) -> VoxelSource {
    let isBinary = flag("BinaryData", true)
    let isCompressed = isBinary && flag("CompressedData", false)
    let header = try integer("HeaderSize", 0)
    let compressed = isCompressed ? try integer("CompressedDataSize", 0) : 0
    guard header >= -1, compressed >= 0 else {
      throw .format(
        "\(path): HeaderSize is \(header) and CompressedDataSize \(compressed), expected 0 or more, and -1 for the rest of the file")
    }
    guard header >= 0 || isBinary && !isCompressed else {
      throw .format("\(path): HeaderSize is -1, expected 0 or more unless voxels are raw")
    }
    var source = VoxelSource(pieces: try pieces(sizes))
    source.encoding = isCompressed ? .deflated : isBinary ? .raw : .text
    source.isSwapped = isBinary && dtype.byteCount > 1 && flag("BinaryDataByteOrderMSB", false)
    if header == -1 { source.skip = .allButVoxels }
    for index in source.pieces.indices {
      guard header <= 0 || header >= source.pieces[index].start else {
        throw .format("\(path): HeaderSize is \(header), the voxels would start inside the header of \(end) bytes")
      }
      if header > 0 { source.pieces[index].start = header }
      if compressed > 0 {
        guard source.pieces.count == 1 else { throw .unsupported("\(path): CompressedDataSize for \(source.pieces.count) data files") }
        source.pieces[index].compressedBytes = compressed
      }
    }
    return source
  }

  /// One for each slice: "first last step" behind a name with "%03d"; all may be left out from the end.
  private func numbers(_ words: [String], _ text: String, slices: Int) throws(MedDINOError) -> [Int] {
    let given = words.compactMap { Int($0) }.filter { $0.magnitude < 1 << 31 }
    let (first, step) = (given.first ?? 1, given.count > 2 ? given[2] : 1)
    guard given.count == words.count, given.count <= 3, step > 0, given.count < 2 || given[1] >= first else {
      throw .format("\(path): ElementDataFile is \(HeaderText.quoted(text)), expected \"name%03d.raw first last step\"")
    }
    let count = given.count > 1 ? (given[1] - first) / step + 1 : slices
    try DataFileName.checkCount(count, [slices, slices], axesPerFile: 1, of: path)
    return (0..<count).map { first + $0 * step }
  }

  private func pieces(_ sizes: [Int]) throws(MedDINOError) -> [VoxelSource.Piece] {
    let text = try required("ElementDataFile")
    if ["LOCAL", "Local", "local"].contains(text) { return [VoxelSource.Piece(path: path, start: end)] }
    let words = HeaderText.words(text)
    var pieces: [VoxelSource.Piece] = []
    func add(_ name: String) throws(MedDINOError) { pieces.append(VoxelSource.Piece(path: try DataFileName.path(name, of: path))) }
    if words.first == "LIST" {
      let axes = words.count > 1 ? words[1].hasSuffix("D") ? String(words[1].dropLast()) : words[1] : String(sizes.count - 1)
      let count = try HeaderText.integer(axes, "\(path): ElementDataFile = LIST")
      try DataFileName.checkCount(listed.count, sizes, axesPerFile: count, of: path)
      for name in listed { try add(name) }
    } else if let place = words.lastIndex(where: { $0.contains("%") }), let name = NumberedName(words[0...place].joined(separator: " ")) {
      for number in try numbers(Array(words[(place + 1)...]), text, slices: sizes[sizes.count - 1]) { try add(name.name(number)) }
    } else {
      try add(text)
    }
    return pieces
  }
}
