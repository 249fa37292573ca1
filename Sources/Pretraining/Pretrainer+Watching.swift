public import Platform
public import Probing
public import Tensors
public import Training
public import WeightFiles

/// Looks at a run from outside: numbers and pictures of the teacher at intervals. Nothing it does changes the run.
public protocol PretrainingWatcher: AnyObject {
  /// Sees every record that goes into the run's metrics.
  func note(_ record: MetricsRecord)
  /// What the teacher is like now, for the metrics. Throws: `.io`, `.outOfMemory`, `.cancelled`; what it throws ends the run.
  func observe(_ run: Pretrainer, control: RunControl) throws(MedDINOError) -> JSONObject
  /// Draws what was noted. Throws: `.io`, `.outOfMemory`.
  func draw(_ run: Pretrainer) throws(MedDINOError)
}

/// The tokens of one image after the final norm, in float32.
public struct TeacherTokens {
  /// [dim].
  public let classToken: Tensor
  /// [rows · columns, dim].
  public let patches: Tensor
  public let rows: Int
  public let columns: Int
}

extension Pretrainer {
  /// Which network is looked at.
  public enum Teacher: Sendable { case average, gram }

  public var sliceCount: Int { source.count }
  public var hasGramTeacher: Bool { trainer.model.gramTeacher != nil }
  /// Memory of the run.
  public var budget: MemoryBudget { device.budget }
  public var probingDevice: any DistillationDevice { device }

  /// Slice `index` of the run's source. Throws: what the source throws.
  public func slice(at index: Int) throws(MedDINOError) -> PretrainingSlice { try source.slice(at: index, in: device.budget) }

  /// A teacher's tokens of a whole slice, normalised as in the run and resized to the grid; nil where the run has no Gram teacher.
  ///
  /// Float32 whatever the run's precision, no random choices. Throws: `.shape`, `.invalid`, `.outOfMemory`, `.cancelled`.
  public func tokens(
    of slice: PretrainingSlice, _ grid: PatchGrid, teacher: Teacher = .average, control: RunControl = RunControl()
  ) throws(MedDINOError) -> TeacherTokens? {
    guard let network = teacher == .average ? trainer.model.teacher : trainer.model.gramTeacher else { return nil }
    let images = try maker.whole(slice, rows: grid.height, columns: grid.width, in: device.budget)
    // A tape of its own, which keeps nothing of the run's.
    let tape = Tape(device, control: control)
    return try tape.withoutRecording { () throws(MedDINOError) -> TeacherTokens in
      let found = try network.features(.init(Variable(images)), on: tape)
      let (patches, own) = (try found.patchTokens(on: tape).value, try found.classTokens(on: tape).value)
      let dim = own.shape[1]
      return TeacherTokens(
        classToken: own.reshaped([dim]), patches: patches.reshaped([found.patches, dim]), rows: found.rows, columns: found.columns)
    }
  }
}

/// The moving-average teacher of a run as a probe sees it.
public struct TeacherEncoder: DenseEncoder {
  private let run: Pretrainer
  public init(_ run: Pretrainer) { self.run = run }
  public var patchSize: Int { run.settings.networks.encoder.patchSize }

  public func patchTokens(_ slice: Tensor, _ grid: PatchGrid, control: RunControl) throws(MedDINOError) -> Tensor {
    let image = PretrainingSlice(slice.reshaped([1, slice.shape[0], slice.shape[1]]), units: .hounsfield)
    guard let tokens = try run.tokens(of: image, grid, control: control) else { throw MedDINOError(.internal, "a run without teacher") }
    let own = try Tensor(tokens.patches.shape, in: run.budget, "patch tokens")
    own.copy(from: tokens.patches)
    return own
  }
}
