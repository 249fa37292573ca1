internal import Platform
internal import Tensors

/// Writes NRRD files as ITK does: LPS, channels first, compressed by gzip.
struct NRRDWriter {
  private let volume: Volume
  private let voxels: VoxelStream

  init(_ volume: Volume) {
    self.volume = volume
    voxels = VoxelStream(volume, .interleaved, appliesScaling: true)
  }

  /// `.nrrd`, or `.nhdr` with the voxels beside it. Throws: `.invalid`, `.io`, `.cancelled`.
  func write(to path: String, control: RunControl?) throws(MedDINOError) {
    try VolumeCheck.geometry(volume.geometry)
    let isDetached = path.lowercased().hasSuffix(".nhdr")
    let data = isDetached ? try DataFileName.beside(path, replacing: ".nhdr", by: ".raw.gz") : nil
    let header = try AtomicFile(path)
    try header.write(try text(dataFile: data?.name))
    let file = try data.map { data throws(MedDINOError) in try AtomicFile(data.path) } ?? header
    let gzip = try GzipWriter(file)
    try voxels.run(control) { bytes throws(MedDINOError) in try gzip.write(bytes) }
    try gzip.finish()
    try file.commit()
    if isDetached { try header.commit() }
  }

  private func text(dataFile: String?) throws(MedDINOError) -> String {
    let grid = WrittenGrid(volume)
    let isVector = volume.channels > 1
    func vector(_ values: [Double]) -> String { "(" + values.map(HeaderText.text).joined(separator: ",") + ")" }
    let directions = grid.directions.enumerated().map { axis, direction in vector(direction.map { $0 * grid.spacing[axis] }) }
    var lines = [
      "NRRD0004", "# Complete NRRD file format specification at:", "# http://teem.sourceforge.net/nrrd/format.html",
      "type: \(type)", "dimension: \(grid.rank + (isVector ? 1 : 0))",
      grid.rank == 3 ? "space: left-posterior-superior" : "space dimension: 2",
      "sizes: " + ((isVector ? [volume.channels] : []) + grid.dims).map(String.init).joined(separator: " "),
      "space directions: " + ((isVector ? ["none"] : []) + directions).joined(separator: " "),
      "kinds: " + ((isVector ? ["vector"] : []) + directions.map { _ in "domain" }).joined(separator: " "),
    ]
    if voxels.dtype.byteCount > 1 { lines.append("endian: little") }
    lines += ["encoding: gzip", "space origin: " + vector(grid.origin)]
    if let dataFile { lines.append("data file: \(dataFile)") } else { lines.append("") }
    return lines.joined(separator: "\n") + "\n"
  }

  private var type: String {
    switch voxels.dtype {
    case .int8: "signed char"
    case .uint8, .bool: "unsigned char"
    case .int16: "short"
    case .uint16: "unsigned short"
    case .int32: "int"
    case .uint32: "unsigned int"
    case .int64: "long long int"
    case .uint64: "unsigned long long int"
    case .float32, .float16, .bfloat16: "float"
    case .float64: "double"
    }
  }
}

/// The axes of a volume as text headers state them: two for a plane that lies in the x-y plane at z = 0, as it was read, else three.
struct WrittenGrid {
  let rank: Int
  let dims: [Int]
  let spacing: [Double]
  let origin: [Double]
  /// Of each axis, in LPS.
  let directions: [[Double]]

  init(_ volume: Volume) {
    let geometry = volume.geometry
    let matrix = Matrix3(geometry.direction)
    let isPlane = volume.isPlane && geometry.dims[2] == 1
    let isFlat = isPlane && geometry.origin[2] == 0 && matrix.column(2) == [0, 0, 1] && matrix[2, 0] == 0 && matrix[2, 1] == 0
    let rank = isFlat ? 2 : 3
    self.rank = rank
    dims = Array(geometry.dims.prefix(rank))
    // what is no plane of two axes gets a spacing that says nothing, instead of the stand-in
    spacing = isPlane && !isFlat ? [geometry.spacing[0], geometry.spacing[1], 1] : Array(geometry.spacing.prefix(rank))
    origin = Array(geometry.origin.prefix(rank))
    directions = (0..<rank).map { Array(matrix.column($0).prefix(rank)) }
  }
}
