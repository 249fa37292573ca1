internal import Platform
internal import Tensors

/// From the axes of an NRRD header to a grid in the patient.
///
/// As ITK reads them: directions of left-anterior-superior and right-anterior-superior space are turned to LPS, those of other spaces are
/// taken as LPS; without directions the grid is axis-parallel with the spacings, and axis mins place it. Channels are the axis whose kind
/// is not that of a domain, or that has no direction; of four axes with directions, the last.
extension NRRDHeader {
  /// Throws: `.format` naming the field that breaks a rule, `.unsupported` for what no volume can say.
  func layout() throws(MedDINOError) -> VolumeLayout {
    let rank = try HeaderText.integer(try required("dimension"), "\(path): dimension")
    guard (1...16).contains(rank) else { throw .format("\(path): dimension is \(rank), expected 1 to 16") }
    guard (2...4).contains(rank) else { throw .unsupported("\(path): \(rank) axes, expected 2 to 4 (x, y, z, channels)") }
    let extents = try HeaderText.extents(try required("sizes"), count: rank, "\(path): sizes")
    let directions = try fields["spacedirections"].map { text throws(MedDINOError) in try vectors(text, count: rank, "space directions") }
    let channel = try channelAxis(rank, directions)
    let grid = (0..<rank).filter { $0 != channel }
    guard (2...3).contains(grid.count) else {
      throw .unsupported("\(path): \(grid.count) axes besides the channels, expected 2 or 3 (x, y, z)")
    }
    let dtype = try dtype()
    let geometry: Geometry
    do throws(MedDINOError) {
      if let directions { geometry = try oriented(extents, grid, directions) } else { geometry = try parallel(extents, grid) }
    } catch { throw error.within(path) }
    return VolumeLayout(
      dtype: dtype, extents: extents, gridAxes: grid, channelAxis: channel, geometry: geometry, source: try source(dtype, extents))
  }

  // MARK: axes

  private func channelAxis(_ rank: Int, _ directions: [[Double]?]?) throws(MedDINOError) -> Int? {
    let kinds = try kinds(rank)
    let domain: Set = ["domain", "space", "time"]
    let ranges = (0..<rank).filter { kinds[$0].map { !domain.contains($0) } ?? false }
    guard ranges.count <= 1 else { throw .unsupported("\(path): \(ranges.count) axes of kinds other than domain, expected at most 1") }
    if let axis = ranges.first {
      let kind = kinds[axis] ?? ""
      guard kind != "complex", !kind.contains("masked") else {
        throw .unsupported("\(path): axis \(axis) is of kind \(kind), expected channels, such as list or vector")
      }
      return axis
    }
    if let directions, let space = try spaceDimension(), rank > space {
      let free = (0..<rank).filter { directions[$0] == nil && !["domain", "space"].contains(kinds[$0]) }
      if free.count == 1 { return free[0] }
    }
    return rank == 4 ? 3 : nil
  }

  /// In lower case, nil for an axis that says nothing.
  private func kinds(_ rank: Int) throws(MedDINOError) -> [String?] {
    guard let text = fields["kinds"] else { return [String?](repeating: nil, count: rank) }
    let words = HeaderText.words(text.lowercased())
    guard words.count == rank else { throw .format("\(path): kinds is \(HeaderText.quoted(text)), expected \(rank) words") }
    if let other = words.first(where: { !Self.knownKinds.contains($0) && !Self.noKinds.contains($0) }) {
      throw .format("\(path): unknown kind \(HeaderText.quoted(other))")
    }
    return words.map { Self.noKinds.contains($0) ? nil : $0 }
  }

  private static let noKinds: Set = ["none", "???", "unknown"]
  private static let knownKinds: Set = [
    "domain", "space", "time", "list", "point", "vector", "covariant-vector", "normal", "stub", "scalar", "complex", "2-vector", "3-color",
    "rgb-color", "hsv-color", "xyz-color", "4-color", "rgba-color", "3-vector", "3-gradient", "3-normal", "4-vector", "quaternion",
    "2d-symmetric-matrix", "2d-masked-symmetric-matrix", "2d-matrix", "2d-masked-matrix", "3d-symmetric-matrix",
    "3d-masked-symmetric-matrix", "3d-matrix", "3d-masked-matrix",
  ]

  // MARK: space

  private enum Space {
    case lps, ras, las, other
    /// Signs that turn x and y to left and posterior.
    var signs: [Double] {
      switch self {
      case .ras: [-1, -1]
      case .las: [1, -1]
      case .lps, .other: [1, 1]
      }
    }
  }

  private func space() throws(MedDINOError) -> (kind: Space, dimension: Int)? {
    guard let text = fields["space"] else {
      guard let text = fields["spacedimension"] else { return nil }
      let count = try HeaderText.integer(text, "\(path): space dimension")
      guard (1...8).contains(count) else { throw .format("\(path): space dimension is \(count), expected 1 to 8") }
      return (.other, count)
    }
    guard fields["spacedimension"] == nil else { throw .format("\(path): both space and space dimension, expected one of them") }
    switch text.lowercased().filter({ $0 != "-" && $0 != " " }) {
    case "leftposteriorsuperior", "lps": return (.lps, 3)
    case "rightanteriorsuperior", "ras": return (.ras, 3)
    case "leftanteriorsuperior", "las": return (.las, 3)
    case "leftposteriorsuperiortime", "lpst": return (.lps, 4)
    case "rightanteriorsuperiortime", "rast": return (.ras, 4)
    case "leftanteriorsuperiortime", "last": return (.las, 4)
    case "scannerxyz", "3drighthanded", "3dlefthanded": return (.other, 3)
    case "scannerxyztime", "3drighthandedtime", "3dlefthandedtime": return (.other, 4)
    default: throw .format("\(path): unknown space \(HeaderText.quoted(text))")
    }
  }

  private func spaceDimension() throws(MedDINOError) -> Int? { try space()?.dimension }

  /// Vectors as "(1,0,0)", and nil for "none" or one of NaN.
  private func vectors(_ text: String, count: Int, _ field: String) throws(MedDINOError) -> [[Double]?] {
    func broken() -> MedDINOError {
      .format("\(path): \(field) is \(HeaderText.quoted(text)), expected \(count) times \"(x,y,z)\" or none")
    }
    var result: [[Double]?] = []
    var rest = Substring(text)
    while let first = rest.first {
      if HeaderText.isSpace(first) {
        rest.removeFirst()
      } else if rest.prefix(4).lowercased() == "none" {
        rest = rest.dropFirst(4)
        result.append(nil)
      } else {
        guard first == "(", let end = rest.firstIndex(of: ")"), result.count < count else { throw broken() }
        let parts = rest[rest.index(after: rest.startIndex)..<end].split(separator: ",", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { DecimalText.parse(HeaderText.trimmed($0)) }
        guard numbers.count == parts.count, (1...8).contains(numbers.count) else { throw broken() }
        result.append(numbers.allSatisfy(\.isNaN) ? nil : numbers)
        rest = rest[rest.index(after: end)...]
      }
    }
    guard result.count == count else { throw broken() }
    return result
  }

  /// A vector of the space as x, y, z in LPS; time must not be mixed in.
  private func turned(_ vector: [Double], _ space: (kind: Space, dimension: Int), isPoint: Bool, _ what: String) throws(MedDINOError)
    -> [Double]
  {
    guard vector.count == space.dimension else {
      throw .format("\(what) has \(vector.count) values, the space has \(space.dimension) dimensions")
    }
    guard space.dimension < 4 || isPoint || vector[3] == 0 else {
      throw .unsupported("\(what) runs through time as well, expected space alone")
    }
    return vector.prefix(3).enumerated().map { $0.offset < 2 ? $0.element * space.kind.signs[$0.offset] : $0.element }
  }

  /// With a direction for each axis of the grid.
  private func oriented(_ extents: [Int], _ grid: [Int], _ directions: [[Double]?]) throws(MedDINOError) -> Geometry {
    guard let space = try space() else { throw .format("space directions without space or space dimension") }
    guard space.dimension == grid.count || space.dimension == 4 && grid.count == 3 else {
      throw .unsupported("\(grid.count) axes in a space of \(space.dimension) dimensions, expected as many")
    }
    guard fields["spacings"] == nil, fields["axismins"] == nil, fields["axismaxs"] == nil else {
      throw .format("spacings, axis mins or axis maxs beside space directions, expected one or the other")
    }
    try checkUnits("spaceunits")
    var steps: [[Double]] = []
    for axis in grid {
      guard let vector = directions[axis] else { throw .format("space directions: none for axis \(axis), expected a vector") }
      steps.append(try turned(vector, space, isPoint: false, "the direction of axis \(axis)"))
    }
    return try Geometry(grid.map { extents[$0] }, steps: steps, origin: try origin(space))
  }

  private func origin(_ space: (kind: Space, dimension: Int)?) throws(MedDINOError) -> [Double] {
    guard let text = fields["spaceorigin"] else { return [0, 0, 0] }
    guard let space else { throw .format("space origin without space or space dimension") }
    guard let point = try vectors(text, count: 1, "space origin")[0] else { return [0, 0, 0] }
    return try turned(point, space, isPoint: true, "space origin")
  }

  // MARK: no space directions

  /// Parallel to the axes of the patient. A negative spacing reverses its axis, as in ITK.
  private func parallel(_ extents: [Int], _ grid: [Int]) throws(MedDINOError) -> Geometry {
    let rank = extents.count
    let space = try space()
    guard fields["spacings"] == nil || space == nil else {
      throw .unsupported("space with spacings, but without space directions, which would say how the axes run")
    }
    try checkUnits("units")
    let spacings = try fields["spacings"].map { text throws(MedDINOError) in try HeaderText.reals(text, count: rank, "spacings") }
    var (lengths, directions): ([Double], [[Double]]) = ([], [])
    for (place, axis) in grid.enumerated() {
      let spacing = spacings?[axis] ?? 1
      guard spacing.isFinite, spacing != 0 else { throw .format("the spacing of axis \(axis) is \(spacing), expected a number of mm") }
      lengths.append(spacing.magnitude)
      directions.append(grid.indices.map { $0 == place ? (spacing < 0 ? -1 : 1) : 0 })
    }
    let point = try space == nil ? minimum(rank, grid, spacings) : origin(space)
    return try Geometry(grid.map { extents[$0] }, spacing: lengths, directions: directions, origin: point)
  }

  /// The centre of the first voxel by axis mins, which for cells, the usual case, are where the first voxel begins.
  private func minimum(_ rank: Int, _ grid: [Int], _ spacings: [Double]?) throws(MedDINOError) -> [Double] {
    if fields["spaceorigin"] != nil { return try origin(nil) }
    guard let text = fields["axismins"] else {
      guard fields["axismaxs"] == nil else { throw .unsupported("axis maxs without axis mins and spacings") }
      return [0, 0, 0]
    }
    guard let spacings else { throw .unsupported("axis mins without spacings") }
    let values = try HeaderText.reals(text, count: rank, "axis mins")
    let centerings = try fields["centerings"].map { text throws(MedDINOError) -> [String] in
      let words = HeaderText.words(text.lowercased())
      guard words.count == rank else { throw .format("centerings is \(HeaderText.quoted(text)), expected \(rank) words") }
      return words
    }
    return grid.map { axis in
      guard values[axis].isFinite else { return 0 }
      return values[axis] + (centerings?[axis] == "node" ? 0 : spacings[axis] / 2)
    }
  }

  /// Lengths are taken as mm. Throws: `.unsupported` for others.
  private func checkUnits(_ field: String) throws(MedDINOError) {
    guard let text = fields[field]?.lowercased() else { return }
    let words = text.split { $0 == "\"" || HeaderText.isSpace($0) }
    if let other = words.first(where: { ["m", "cm", "um", "µm", "μm", "nm", "inch", "microns", "meters", "metres"].contains($0) }) {
      throw .unsupported("\(field == "units" ? "units" : "space units") are \(other), expected mm")
    }
  }
}
