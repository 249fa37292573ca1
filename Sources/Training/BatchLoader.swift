public import Platform

/// Batches prepared in the background and handed out in order.
///
/// Batch k is what `prepare(k)` makes of the number k alone (random numbers come from a `CounterRandom` keyed by it), so that the
/// batches do not depend on the number of workers, and a resumed run names the number it stopped at. At most `ahead` batches exist
/// besides those that were handed out. One thread consumes; `cancel` may come from any.
public final class BatchLoader<Batch: Sendable>: @unchecked Sendable {
  /// Runs on worker threads, several at a time. The control carries a cancel; long work checks it.
  public typealias Prepare = @Sendable (_ index: Int, _ control: RunControl) throws(MedDINOError) -> Batch

  private let queue: BatchQueue<Batch>
  private var tasks: [BackgroundTask] = []
  private var failure: MedDINOError?
  /// The number of the batch that `next` gives: what a checkpoint keeps as its data position.
  public private(set) var position: Int
  /// One past the last batch.
  public let end: Int
  /// A batch could not be made: `next` repeats its error.
  public var hasFailed: Bool { failure != nil }

  /// `workers`: threads; 0 prepares a batch when it is asked for, on the consumer's thread. `ahead`: batches that may be ready or in
  /// preparation.
  /// Throws: `.invalid`, `.outOfMemory` when the system gives no thread.
  public init(from start: Int = 0, to end: Int = .max, workers: Int, ahead: Int, prepare: @escaping Prepare) throws(MedDINOError) {
    guard start >= 0, start <= end else { throw .invalid("batches \(start) to \(end), expected 0 <= start <= end") }
    guard (0...256).contains(workers), (1...4096).contains(ahead) else {
      throw .invalid("workers are \(workers) and batches ahead \(ahead), expected 0 to 256 and 1 to 4096")
    }
    queue = BatchQueue(start: start, end: end, ahead: ahead, prepare: prepare)
    position = start
    self.end = end
    for _ in 0..<min(workers, ahead) {
      let task = BackgroundTask { [queue] in queue.work() }
      do { try task.start() } catch {
        stop()
        throw error
      }
      tasks.append(task)
    }
  }

  deinit { stop() }

  /// The next batch; nil after the last. Waits for it, and gives up when `control` is cancelled.
  ///
  /// Throws: what `prepare` threw for this batch (and again at every later call), `.cancelled`.
  public func next(_ control: RunControl? = nil) throws(MedDINOError) -> Batch? {
    if let failure { throw failure }
    guard position < end else { return nil }
    let result = tasks.isEmpty ? queue.prepareNow(position) : try queue.take(position, control)
    position += 1
    switch result {
    case .success(let batch): return batch
    case .failure(let error):
      position -= 1
      failure = error
      throw error
    }
  }

  /// Ends the preparation; `next` then throws `.cancelled`.
  public func cancel() { queue.stop() }

  /// No thread runs after this.
  private func stop() {
    queue.stop()
    for task in tasks { task.join() }
    tasks = []
  }
}

/// What the loader shares with its threads.
private final class BatchQueue<Batch: Sendable>: @unchecked Sendable {
  private let monitor = Monitor()
  private let prepare: BatchLoader<Batch>.Prepare
  private let cancellation = Cancellation()
  private let ahead: Int
  // Guarded by the monitor.
  private var claimed: Int
  private var delivered: Int
  /// Batches from here on are not prepared: the end of the list, or behind a batch that failed.
  private var limit: Int
  private var ready: [Int: Result<Batch, MedDINOError>] = [:]

  init(start: Int, end: Int, ahead: Int, prepare: @escaping BatchLoader<Batch>.Prepare) {
    self.prepare = prepare
    self.ahead = ahead
    claimed = start
    delivered = start
    limit = end
  }

  func prepareNow(_ index: Int) -> Result<Batch, MedDINOError> {
    do throws(MedDINOError) {
      if cancellation.isRequested { throw .cancelled }
      return .success(try prepare(index, RunControl(cancellation: cancellation)))
    } catch {
      return .failure(error)
    }
  }

  /// The life of one worker.
  func work() {
    while let index = claim() {
      let result = prepareNow(index)
      monitor.lock()
      ready[index] = result
      if case .failure = result { limit = min(limit, index) }
      monitor.broadcast()
      monitor.unlock()
    }
  }

  private func claim() -> Int? {
    monitor.lock()
    defer { monitor.unlock() }
    while !cancellation.isRequested, claimed < limit {
      if claimed - delivered < ahead {
        claimed += 1
        return claimed - 1
      }
      monitor.wait()
    }
    return nil
  }

  func take(_ index: Int, _ control: RunControl?) throws(MedDINOError) -> Result<Batch, MedDINOError> {
    monitor.lock()
    defer { monitor.unlock() }
    while true {
      if cancellation.isRequested { return .failure(.cancelled) }
      if let result = ready.removeValue(forKey: index) {
        delivered = index + 1
        monitor.broadcast()
        return result
      }
      try control?.check()
      monitor.wait(milliseconds: 20)
    }
  }

  func stop() {
    monitor.lock()
    cancellation.request()
    ready = [:]
    monitor.broadcast()
    monitor.unlock()
  }
}
