internal import Imaging
public import Platform
public import Segmentation
public import Tensors

/// From the labels of a sample to what the loss compares with.
///
/// Source: pipeline specification 7.10 to 7.12.
public struct TargetEncoding: Equatable, Sendable {
  /// Values of each region, in the order of the network's outputs; nil for plain labels.
  public let regions: [[Int]]?
  public let ignoreLabel: Int?

  public init(regions: [[Int]]?, ignoreLabel: Int?) {
    self.regions = regions
    self.ignoreLabel = ignoreLabel
  }
  public init(_ scheme: LabelScheme) {
    self.init(regions: scheme.hasRegions ? scheme.foreground.map(\.values) : nil, ignoreLabel: scheme.ignoreLabel)
  }

  /// Channels of a target: 1 for labels; one per region, and one for the ignored pixels when there is an ignore label.
  public var channels: Int { regions.map { $0.count + (ignoreLabel == nil ? 0 : 1) } ?? 1 }

  /// Sets the pixels of the chosen channels to 0 where the label is below 0 (outside the nonzero mask).
  ///
  /// Shapes: float32 [channels, rows, columns], int16 [1, rows, columns]. Throws: `.shape`.
  public static func maskImage(_ image: Tensor, labels: Tensor, channels: [Bool]) throws(MedDINOError) {
    let (planes, plane) = (try ImagePlanes(image), try LabelPlane(labels))
    guard plane.count == planes.count, channels.count == planes.channels else {
      throw .shape("mask for \(channels.count) channels and labels \(labels.shape), expected those of image \(image.shape)")
    }
    for channel in channels.indices where channels[channel] {
      let values = planes.plane(channel)
      for index in 0..<planes.count { values[index] = plane.values[index] < 0 ? 0 : values[index] }
    }
    withExtendedLifetime((image, labels)) {}
  }

  /// Sets -1 (outside the nonzero mask) to background.
  ///
  /// Shapes: int16 [1, rows, columns]. Throws: `.shape`.
  public static func removeOutside(_ labels: Tensor) throws(MedDINOError) {
    let plane = try LabelPlane(labels)
    for index in 0..<plane.count { plane.values[index] = plane.values[index] == -1 ? 0 : plane.values[index] }
    withExtendedLifetime(labels) {}
  }

  /// Writes the target of labels without -1: the labels as they are, or 0 and 1 per region.
  ///
  /// Shapes: labels int16 [1, rows, columns], target int16 [channels, rows, columns]. Throws: `.shape`.
  public func encode(_ labels: Tensor, into target: Tensor) throws(MedDINOError) {
    let plane = try LabelPlane(labels)
    guard target.dtype == .int16, target.shape.extents == [channels, plane.rows, plane.columns],
      let out = target.elements(Int16.self).baseAddress
    else {
      throw .shape("target is \(target.dtype) \(target.shape), expected int16 [\(channels), \(plane.rows), \(plane.columns)]")
    }
    guard let regions else {
      out.update(from: plane.values, count: plane.count)
      return withExtendedLifetime((labels, target)) {}
    }
    let sets = regions + (ignoreLabel.map { [[$0]] } ?? [])
    for (channel, values) in sets.enumerated() { mark(values, plane, into: out + channel * plane.count) }
    withExtendedLifetime((labels, target)) {}
  }

  private func mark(_ values: [Int], _ plane: LabelPlane, into out: UnsafeMutablePointer<Int16>) {
    let known = values.filter { (0...Int(Int16.max)).contains($0) }
    var table = [Int16](repeating: 0, count: (known.max() ?? 0) + 1)
    for value in known { table[value] = 1 }
    table.withUnsafeBufferPointer { table in
      for index in 0..<plane.count {
        let label = Int(plane.values[index])
        out[index] = label >= 0 && label < table.count ? table[label] : 0
      }
    }
  }
}
