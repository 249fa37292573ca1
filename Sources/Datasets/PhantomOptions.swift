internal import Imaging
internal import Platform

/// What the synthetic torso CTs look like and how many there are. Ranges are drawn from anew for each case.
public struct PhantomOptions: Sendable {
  /// Same seed and options, same cases, each on its own: case 7 does not depend on cases 0 to 6.
  public var seed: UInt64 = 1

  /// Training and test cases of a dataset. Case indices run through both.
  public var cases = 20
  public var testCases = 5
  /// Writes the labels of the test cases into `labelsTs`.
  public var testLabels = true
  /// The dataset's folder is `Dataset<three digits>_<name>`.
  public var datasetID = 900
  public var name = "Phantom"
  /// Of the files, one of `VolumeFile.singleFileEndings`.
  public var fileEnding = ".nii.gz"

  /// Voxels along the patient's left-right and front-back axes.
  public var matrix = 128...128
  public var slices = 36...44
  /// Units: mm.
  public var spacing = 0.9...1.3
  public var sliceSpacing = 2.5...4.2
  /// Size of the body relative to an adult about 350 mm wide; nil fits the body to the field of view, up to an adult.
  public var bodyScale: Double?

  /// One of these for each file. A list of one keeps all files alike.
  public var orientations = PhantomOrientation.allCases
  /// Part of the cases whose grid is tilted against the patient by a few degrees.
  public var obliqueChance = 0.15
  /// Chance of each removable organ (spleen, either kidney; twice for the gallbladder) to be missing.
  public var missingChance = 0.1
  /// Standard deviation of the noise. Units: HU.
  public var noise = 10.0...20.0
  public var phase = PhantomPhase.native
  /// How many organs are labelled, in the order of `Phantom.labels`; the others are there but background.
  public var labelCount = 8

  public init() {}

  /// One exact size, for tests of memory and speed: no tilt, stored as LPS.
  public static func fixed(
    matrix: Int, slices: Int, spacing: Double = 0.8, sliceSpacing: Double = 1, seed: UInt64 = 1
  ) -> PhantomOptions {
    var options = PhantomOptions()
    options.seed = seed
    options.matrix = matrix...matrix
    options.slices = slices...slices
    options.spacing = spacing...spacing
    options.sliceSpacing = sliceSpacing...sliceSpacing
    options.orientations = [.lps]
    options.obliqueChance = 0
    return options
  }

  /// Throws: `.invalid`, naming the option.
  func validate() throws(MedDINOError) {
    func check<T: Comparable>(_ range: ClosedRange<T>, _ name: String, _ allowed: ClosedRange<T>) throws(MedDINOError) {
      try check(range.lowerBound, name, allowed)
      try check(range.upperBound, name, allowed)
    }
    func check<T: Comparable>(_ value: T, _ name: String, _ allowed: ClosedRange<T>) throws(MedDINOError) {
      guard allowed.contains(value) else {
        throw .invalid("\(name) is \(value), expected \(allowed.lowerBound) to \(allowed.upperBound)")
      }
    }
    try check(cases, "cases", 0...100_000)
    try check(testCases, "testCases", 0...100_000)
    try check(datasetID, "datasetID", 0...999)
    try check(labelCount, "labelCount", 1...PhantomOrganKind.allCases.count)
    try check(matrix, "matrix", 1...4096)
    try check(slices, "slices", 1...10_000)
    try check(spacing, "spacing", 0.05...50)
    try check(sliceSpacing, "sliceSpacing", 0.05...50)
    try check(noise, "noise", 0...1000)
    try check(obliqueChance, "obliqueChance", 0...1)
    try check(missingChance, "missingChance", 0...1)
    if let bodyScale { try check(bodyScale, "bodyScale", 0.01...10) }
    guard !orientations.isEmpty else { throw .invalid("orientations is empty, expected at least one") }
    guard VolumeFile.singleFileEndings.contains(fileEnding) else {
      throw .invalid("fileEnding is \"\(fileEnding)\", expected \(VolumeFile.words(VolumeFile.singleFileEndings))")
    }
    let allowed: (UInt8) -> Bool = {
      (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 95
    }
    guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy(allowed) else {
      throw .invalid("name is \"\(name)\", expected 1 to 64 letters, digits or underscores")
    }
  }
}
