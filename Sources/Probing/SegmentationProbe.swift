internal import Imaging
public import Platform
public import Tensors

/// How frozen features are tested.
public struct ProbeOptions: Equatable, Sendable {
  public var neighbours = 20
  public var temperature = 0.07
  /// Of the linear map, in parts of the number of patches.
  public var ridge = 0.01
  /// Slices that are learned from; nil: all that are not held out.
  public var shots: Int?
  /// Of the split and of the shots.
  public var seed: UInt64 = 0
  /// Patches that are learned from at most.
  public var patchLimit = 20000
  public init() {}

  /// Throws: `.invalid` naming the value.
  public func validate() throws(MedDINOError) {
    guard (1...10000).contains(neighbours) else { throw .invalid("neighbours are \(neighbours), expected 1 to 10000") }
    guard temperature > 0, temperature.isFinite else { throw .invalid("temperature is \(temperature), expected more than 0") }
    guard ridge > 0, ridge.isFinite else { throw .invalid("ridge is \(ridge), expected more than 0") }
    guard patchLimit >= 1 else { throw .invalid("the limit of patches is \(patchLimit), expected at least 1") }
  }
}

/// What a probe found on held-out slices.
public struct ProbeResult: Equatable, Sendable {
  public struct Scores: Equatable, Sendable {
    /// Dice over the pixels of all held-out slices, label by label; NaN where neither the reference nor the prediction has a pixel.
    public var dice: [Double]
    /// Over the labels that the held-out slices have.
    public var mean: Double

    init(_ counts: [OverlapCounts]) {
      dice = counts.map(\.dice)
      let present = counts.filter { $0.referenced > 0 }
      mean = present.isEmpty ? .nan : present.reduce(0) { $0 + $1.dice } / Double(present.count)
    }
  }
  public var neighbours: Scores
  public var linear: Scores
  public var trainingSlices: Int
  public var heldOutSlices: Int
  public var trainingPatches: Int
}

/// The dense features of one backbone on labelled slices, and what can be read off them without changing them: segmentation by nearest
/// patches and by a linear map, learned on some slices and measured on others.
///
/// Scores of patches are resized bilinearly to the slice's own pixels, where the largest wins. Deterministic. Used by one thread at a time.
public final class SegmentationProbe {
  public let data: LabelledSlices
  private let patches: [PatchSlice]
  private let device: any DistillationDevice

  /// Computes the tokens of all slices. Throws: what the encoder throws, `.shape` when it gives others than the grid's, `.cancelled`.
  public init(
    _ data: LabelledSlices, encoder: any DenseEncoder, longestSide: Int? = nil, device: any DistillationDevice,
    control: RunControl = RunControl()
  ) throws(MedDINOError) {
    var patches: [PatchSlice] = []
    for (number, slice) in data.slices.enumerated() {
      let part = Double(number) / Double(data.slices.count)
      try control.update(part)
      let grid = PatchGrid(rows: slice.rows, columns: slice.columns, patchSize: encoder.patchSize, longestSide: longestSide)
      let tokens = try encoder.patchTokens(slice.pixels, grid, control: control.still(at: part))
      guard tokens.shape.rank == 2, tokens.shape[0] == grid.rows * grid.columns, tokens.dtype == .float32,
        patches.first.map({ $0.tokens.shape[1] == tokens.shape[1] }) ?? true
      else { throw .shape("the encoder gave tokens \(tokens.dtype) \(tokens.shape) for \(grid.rows) × \(grid.columns) patches") }
      patches.append(PatchSlice(slice, tokens: tokens, grid: grid, classes: data.classCount))
    }
    (self.data, self.patches, self.device) = (data, patches, device)
  }

  /// Throws: `.invalid` for options or a split that cannot be, `.outOfMemory`, `.cancelled`.
  public func run(_ options: ProbeOptions = ProbeOptions(), control: RunControl = RunControl()) throws(MedDINOError) -> ProbeResult {
    try options.validate()
    let split = try ProbeSplit(cases: data.slices.map(\.caseNumber), seed: options.seed, shots: options.shots)
    let bank = try PatchBank(
      split.training.map { patches[$0] }, classes: data.classCount, limit: options.patchLimit, in: device.budget)
    let near = try NeighbourClassifier(bank, neighbours: options.neighbours, temperature: options.temperature, device: device)
    let linear = try LinearClassifier(bank, ridge: options.ridge, device: device, control: control)
    return ProbeResult(
      neighbours: try scores(near, split.heldOut, control), linear: try scores(linear, split.heldOut, control),
      trainingSlices: split.training.count, heldOutSlices: split.heldOut.count, trainingPatches: bank.count)
  }

  private func scores(
    _ classifier: any PatchClassifier, _ heldOut: [Int], _ control: RunControl
  ) throws(MedDINOError) -> ProbeResult.Scores {
    var counts = [OverlapCounts](repeating: OverlapCounts(), count: data.labels.count)
    for number in heldOut {
      try control.check()
      let values = try classifier.scores(patches[number].tokens, control: control)
      let predicted = Self.classes(of: values, patches[number].grid, data.slices[number], count: data.classCount)
      let truth = data.slices[number].classes.elements(Int16.self)
      for pixel in predicted.indices where truth[pixel] >= 0 {
        let (found, real) = (predicted[pixel], Int(truth[pixel]))
        if found == real {
          if real > 0 { counts[real - 1].truePositives += 1 }
          continue
        }
        if found > 0 { counts[found - 1].falsePositives += 1 }
        if real > 0 { counts[real - 1].falseNegatives += 1 }
      }
      withExtendedLifetime(data.slices[number].classes) {}
    }
    return ProbeResult.Scores(counts)
  }

  /// The class of every pixel: scores [patches · classes] resized to the slice, the first of the largest.
  static func classes(of scores: [Float], _ grid: PatchGrid, _ slice: LabelledSlice, count: Int) -> [Int] {
    let (from, to) = (grid.rows * grid.columns, slice.rows * slice.columns)
    let resizer = AntialiasedResizer(rows: grid.rows, columns: grid.columns, toRows: slice.rows, toColumns: slice.columns)
    var (classes, best) = ([Int](repeating: 0, count: to), [Float](repeating: -.infinity, count: to))
    var plane = [Float](repeating: 0, count: from)
    var (resized, scratch) = ([Float](repeating: 0, count: to), [Float](repeating: 0, count: resizer.scratchCount))
    for label in 0..<count {
      for patch in 0..<from { plane[patch] = scores[patch * count + label] }
      resizer.resize(plane, into: &resized, scratch: &scratch)
      for pixel in 0..<to where resized[pixel] > best[pixel] { (classes[pixel], best[pixel]) = (label, resized[pixel]) }
    }
    return classes
  }
}
