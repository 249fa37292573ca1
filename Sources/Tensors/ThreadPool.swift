internal import CKernels
public import Platform

/// The threads of one context. All of our parallel work goes through `forEach`; who runs it (our sleeping workers, OpenMP in that
/// build, or the host's own `parallel_for`) makes no difference to the result, because callers split work by shape alone.
public final class ThreadPool: @unchecked Sendable {
  public typealias HostTask = @convention(c) (UnsafeMutableRawPointer?, Int64) -> Void
  public typealias HostParallel = @convention(c) (UnsafeMutableRawPointer?, Int64, HostTask?, UnsafeMutableRawPointer?) -> Void

  private let pool: OpaquePointer
  /// How many threads may take part, the calling one included.
  public let width: Int

  /// `threads`: 0 chooses the processors that this process may use, 1 keeps to the calling thread.
  /// Throws: `.invalid` outside 0...1024, `.outOfMemory`.
  public init(threads: Int = 0, host: HostParallel? = nil, hostUser: UnsafeMutableRawPointer? = nil, hostWidth: Int = 0)
    throws(MedDINOError)
  {
    guard (0...1024).contains(threads) else { throw .invalid("threads is \(threads), expected 0 (auto) to 1024") }
    guard (0...4096).contains(hostWidth) else { throw .invalid("parallel_width is \(hostWidth), expected 0 to 4096") }
    let count = threads == 0 ? Int(ck_usable_processors()) : threads
    guard let pool = ck_pool_create(Int32(count), host, hostUser, Int32(hostWidth)) else {
      throw MedDINOError(.outOfMemory, "thread pool of \(count) threads")
    }
    self.pool = pool
    width = Int(ck_pool_width(pool))
  }
  deinit { ck_pool_destroy(pool) }

  /// Runs `body` for 0..<count on the pool's threads, in any order, and returns when all calls have returned.
  public func forEach(_ count: Int, _ body: (Int) -> Void) {
    if count <= 0 { return }
    if count == 1 { return body(0) }
    withoutActuallyEscaping(body) { escaping in
      var closure = escaping
      withUnsafeMutablePointer(to: &closure) { pointer in
        ck_pool_run(
          pool, Int64(count),
          { argument, index in
            argument?.assumingMemoryBound(to: ((Int) -> Void).self).pointee(Int(index))
          }, pointer)
      }
    }
  }

  /// Splits `rows` into blocks of `grain` rows and runs `body` on each.
  public func forBlocks(of rows: Int, grain: Int, _ body: (Range<Int>) -> Void) {
    forEach((rows + grain - 1) / grain) { block in
      body(block * grain..<min(rows, (block + 1) * grain))
    }
  }
}
