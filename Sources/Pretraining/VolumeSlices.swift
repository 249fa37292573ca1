public import Imaging
public import Platform
internal import Tensors

/// The axial slices of CT volumes that are held in memory: for sets of a few volumes.
///
/// Volumes are turned to LPS by their headers, as curation does: slices go from the feet to the head, row 0 is the front, column 0 the right
/// side. Units: Hounsfield, by the files' slope and intercept; NaN and minus infinity count as -1000 HU, plus infinity
/// as 1000 HU, the ends of the range that is normalised.
public struct VolumeSlices: SliceSource {
  public let count: Int
  private let volumes: [Volume]
  /// The first slice of each volume.
  private let starts: [Int]

  /// Throws: `.invalid` without a slice, for volumes of several channels or with linearly dependent axes.
  public init(_ volumes: [Volume]) throws(MedDINOError) {
    var starts: [Int] = []
    var upright: [Volume] = []
    var count = 0
    for (index, volume) in volumes.enumerated() {
      guard volume.channels == 1 else {
        throw .invalid("volume \(index) has \(volume.channels) channels, expected 1 in Hounsfield units")
      }
      let turned = try volume.reoriented(to: .lps)
      upright.append(turned)
      starts.append(count)
      count += turned.geometry.dims[2]
    }
    guard count > 0 else { throw .invalid("no slices: \(volumes.count) volumes, expected at least one with a slice") }
    (self.volumes, self.starts, self.count) = (upright, starts, count)
  }

  /// Reads volume files into memory of the budget. Throws: as `VolumeFile.read`, and `.invalid`.
  public init(files: [String], in budget: MemoryBudget, control: RunControl = RunControl()) throws(MedDINOError) {
    var volumes: [Volume] = []
    try control.begin("read", from: 0, to: 1)
    for (index, file) in files.enumerated() {
      let part = control.part(Double(index) / Double(files.count), Double(index + 1) / Double(files.count))
      let volume = try VolumeFile.read(file, in: budget, control: part)
      guard volume.channels == 1 else { throw .invalid("\(file): \(volume.channels) channels, expected 1 in Hounsfield units") }
      volumes.append(volume)
    }
    try self.init(volumes)
  }

  /// Of the sizes and a few voxels of every volume.
  public var fingerprint: String {
    var text = ""
    for volume in volumes {
      let dims = volume.geometry.dims
      text += dims.map(String.init).joined(separator: " ")
      guard dims.allSatisfy({ $0 > 0 }) else { continue }
      for part in 0..<16 { text += " \(volume.value(dims[0] * part / 16, dims[1] * part / 16, dims[2] * part / 16))" }
      text += "\n"
    }
    var hash = SHA256()
    Array(text.utf8).withUnsafeBytes { hash.update($0) }
    return hash.finish().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  public func slice(at index: Int, in budget: MemoryBudget) throws(MedDINOError) -> PretrainingSlice {
    guard (0..<count).contains(index) else { throw .invalid("slice \(index), expected 0 to \(count - 1)") }
    // The last volume that starts at or before the slice: empty volumes before it are passed over.
    var (low, high) = (0, starts.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= index { low = middle } else { high = middle }
    }
    let volume = volumes[low]
    let dims = volume.geometry.dims
    let pixels = try Tensor([1, dims[1], dims[0]], in: budget, "slice")
    if let base = pixels.floats.baseAddress {
      volume.readPlane(
        axis: 2, index: index - starts[low], rowAxis: 1, rows: 0..<dims[1], columnAxis: 0, columns: 0..<dims[0], channel: 0, into: base)
      for place in 0..<pixels.count where !base[place].isFinite { base[place] = HounsfieldNormalization.clipped(base[place]) }
    }
    return PretrainingSlice(pixels, units: .hounsfield)
  }
}
