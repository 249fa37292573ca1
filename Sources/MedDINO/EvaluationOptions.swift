public import Imaging
public import Platform
public import Segmentation

/// What is compared, and how.
public struct EvaluationOptions: Sendable {
  /// Labels or regions; nil: every value but 0 that a reference or prediction holds, ascending.
  public var structures: [LabelScheme.Region]?
  /// Label values that MedDINOv3's own metrics are made of; nil: the values of the structures, ascending.
  public var classes: [Int]?
  /// Voxels whose reference holds this value do not count in overlaps. Surface distances know no such voxels.
  public var ignoreLabel: Int?
  /// Values that label maps may hold; nil: any.
  public var knownLabels: [Int]?
  /// Of the normalized surface Dice. Units: mm.
  public var tolerance = 1.0
  /// Also NSD and HD95, which cost most of the time.
  public var measuresSurfaces = true
  /// Whose rules order voxels and give the spacing.
  public var reader = VolumeFile.Reader.simpleITK
  /// Limit of the buffers in bytes; nil: the context's.
  public var maxBytes: Int?

  public init() {}

  /// As nnU-Net and MedDINOv3 evaluate a dataset. MedDINOv3 scores the raw values 1 to K, K being the number of declared labels or
  /// regions without background and ignore. Throws: `.format`, `.unsupported` for a reader that is not known.
  /// Source: pipeline specification 11.1, 11.2.
  public init(_ dataset: DatasetDescription) throws(MedDINOError) {
    let scheme = try LabelScheme(dataset)
    structures = scheme.foreground
    let declared = dataset.labels.filter { $0.name != "background" }.count
    classes = declared == 0 ? [] : Array(1...declared)
    ignoreLabel = scheme.ignoreLabel
    knownLabels = scheme.allLabels + (scheme.ignoreLabel.map { [$0] } ?? [])
    if let name = dataset.readerOverride {
      guard let reader = VolumeFile.Reader(rawValue: name) else {
        throw .unsupported("overwrite_image_reader_writer is \(name), expected one of \(VolumeFile.Reader.allCases.map(\.rawValue))")
      }
      self.reader = reader
    }
  }

  /// Throws: `.invalid` naming the option.
  func check() throws(MedDINOError) {
    guard tolerance.isFinite, tolerance >= 0 else { throw .invalid("tolerance is \(tolerance) mm, expected 0 or more") }
    for structure in structures ?? [] where structure.values.isEmpty || structure.values.contains(0) {
      throw .invalid("structure \(structure.name) has the values \(structure.values), expected at least one, none of them 0")
    }
  }
}
