internal import Synchronization
internal import Imaging
public import Platform
public import Segmentation
internal import Tensors

/// Predictions compared with references, case by case, and what follows from all of them.
public struct Evaluation: Sendable {
  public let cases: [CaseEvaluation]
  public let structures: [LabelScheme.Region]
  /// Label values of MedDINOv3's own metrics.
  public let classes: [Int]
  public let options: EvaluationOptions

  public init(_ cases: [CaseEvaluation], options: EvaluationOptions) {
    self.cases = cases
    self.options = options
    structures = CaseEvaluation.structures(options, cases.map(\.pairs))
    classes = CaseEvaluation.classes(options, cases.map(\.pairs))
  }

  /// Reads and compares all pairs.
  ///
  /// `jobs`: how many cases are in memory and at work at once, each on a thread of its own; 1: one after the other on all threads of
  /// the context. Results do not depend on it.
  /// Throws: what reading and comparing throw, with the case's name first; `.cancelled`.
  public static func run(
    _ pairs: [CasePair], options: EvaluationOptions = EvaluationOptions(), jobs: Int = 1, context: Context,
    control: RunControl = RunControl()
  ) throws(MedDINOError) -> Evaluation {
    try options.check()
    guard (1...1024).contains(jobs) else { throw .invalid("jobs is \(jobs), expected 1 to 1024") }
    var cases: [CaseEvaluation] = []
    if jobs == 1 || pairs.count < 2 {
      for (index, pair) in pairs.enumerated() {
        let part = 1 / Double(pairs.count)
        let span = part * Double(index)...part * Double(index + 1)
        cases.append(try evaluate(pair, options, context.pool, context.budget, control, span))
      }
    } else {
      cases = try CaseJobs(pairs.count, jobs: jobs, control: control).run { (index, pool, control) throws(MedDINOError) in
        try evaluate(pairs[index], options, pool, context.budget, control, 0...1)
      }
    }
    for found in cases { for warning in found.warnings { context.log(.warning, "case \(found.name): \(warning)") } }
    return Evaluation(cases, options: options)
  }

  private static func evaluate(
    _ pair: CasePair, _ options: EvaluationOptions, _ pool: ThreadPool, _ budget: MemoryBudget, _ control: RunControl,
    _ span: ClosedRange<Double>
  ) throws(MedDINOError) -> CaseEvaluation {
    do throws(MedDINOError) {
      let read = span.lowerBound + (span.upperBound - span.lowerBound) * 0.3
      try control.begin("read", from: span.lowerBound, to: read)
      let budget = options.maxBytes.map { MemoryBudget(limit: $0, parent: budget) } ?? budget
      let reference = try VolumeFile.read(pair.reference, reader: options.reader, in: budget, control: control.still(at: 0))
      let prediction = try VolumeFile.read(pair.prediction, reader: options.reader, in: budget, control: control.still(at: 0.5))
      var found = try CaseEvaluation(
        reference: reference, prediction: prediction, options: options, pool: pool, in: budget, control: control,
        progress: read...max(read, span.upperBound))
      found.name = pair.name
      found.predictionFile = pair.prediction
      found.referenceFile = pair.reference
      return found
    } catch {
      throw error.kind == .cancelled ? error : error.within("case \(pair.name)")
    }
  }
}

/// Runs independent cases on threads of their own. The first failure (by case order among those that happened) stops the others.
struct CaseJobs {
  private let count: Int
  private let jobs: Int
  private let control: RunControl

  init(_ count: Int, jobs: Int, control: RunControl) {
    self.count = count
    self.jobs = min(jobs, count)
    self.control = control
  }

  private struct State<Value: Sendable>: Sendable {
    var results: [Result<Value, MedDINOError>?]
    var done: [Double]
    var serial: [ThreadPool] = []
  }

  func run<Value: Sendable>(
    _ body: (Int, ThreadPool, RunControl) throws(MedDINOError) -> Value
  ) throws(MedDINOError) -> [Value] {
    let workers = try ThreadPool(threads: jobs)
    var state = State<Value>(results: Array(repeating: nil, count: count), done: Array(repeating: 0, count: count))
    for _ in 0..<jobs { state.serial.append(try ThreadPool(threads: 1)) }
    let shared = Mutex(state)
    let stop = Cancellation()
    try control.begin("evaluate", from: 0, to: 1)
    workers.forEach(count) { index in
      let pool = shared.withLock { $0.serial.popLast() }
      guard let pool, !stop.isRequested else { return }
      let own = RunControl(cancellation: stop) { fraction, _ in
        // One report at a time: the caller's callback need not be safe for several threads.
        shared.withLock { state in
          state.done[index] = fraction
          do throws(MedDINOError) { try control.update(state.done.reduce(0, +) / Double(count)) } catch {
            stop.request()
            return false
          }
          return true
        }
      }
      let result: Result<Value, MedDINOError>
      do throws(MedDINOError) { result = .success(try body(index, pool, own)) } catch {
        stop.request()
        result = .failure(error)
      }
      shared.withLock { state in
        state.results[index] = result
        state.serial.append(pool)
      }
    }
    return try collect(shared.withLock { $0.results })
  }

  /// A case that failed of itself says more than those that were stopped because of it.
  private func collect<Value>(_ results: [Result<Value, MedDINOError>?]) throws(MedDINOError) -> [Value] {
    var values: [Value] = []
    for case .failure(let error)? in results where error.kind != .cancelled { throw error }
    for result in results {
      guard let result else { throw .cancelled }
      values.append(try result.get())
    }
    return values
  }
}
