internal import Imaging
internal import Platform

/// What a label volume holds: voxels per label, and the slices with labels.
struct LabelCensus {
  /// More different values than this is no segmentation.
  static let maximumLabels = 4096
  /// Largest label value: float32 planes hold it exactly.
  static let maximumValue = 1 << 24

  private(set) var voxels: [Int: Int] = [:]
  /// Picture slices (from superior) with at least one label above 0.
  private(set) var slices: [Int] = []

  /// Throws: `.invalid` when a label is negative, not whole, above 2^24, or there are too many; `.cancelled`.
  init(
    _ labels: Volume, axes: DisplayAxes, plane: UnsafeMutableBufferPointer<Float>, control: RunControl?
  ) throws(MedDINOError) {
    for slice in 0..<labels.geometry.dims[axes.sliceAxis] {
      try control?.check()
      guard let start = plane.baseAddress else { return }
      axes.read(labels, slice: slice, into: start)
      if try count(plane) { slices.append(slice) }
    }
  }

  /// Counts runs of equal values, so that the table is touched once per run. Returns whether there is a label above 0.
  private mutating func count(_ plane: UnsafeMutableBufferPointer<Float>) throws(MedDINOError) -> Bool {
    var found = false
    var index = 0
    while index < plane.count {
      let value = plane[index]
      guard value >= 0, value <= Float(Self.maximumValue), value == value.rounded() else {
        throw .invalid("labels holds \(value), expected whole numbers of 0 to \(Self.maximumValue)")
      }
      let begin = index
      while index < plane.count, plane[index] == value { index += 1 }
      if value == 0 { continue }
      found = true
      voxels[Int(value), default: 0] += index - begin
      guard voxels.count <= Self.maximumLabels else {
        throw .invalid("labels holds more than \(Self.maximumLabels) different values")
      }
    }
    return found
  }
}
