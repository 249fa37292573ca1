import Glibc
import Platform
import Synchronization
import Tensors
import Testing
import Training

struct BatchLoaderTests {
  /// A batch that takes a while of its own, so that workers finish out of order.
  private static func batch(_ index: Int) -> [UInt64] {
    var random = CounterRandom(seed: 3, purpose: "loader", step: UInt64(index))
    usleep(UInt32(random.integer(0...800)))
    return (0..<4).map { _ in random.next() }
  }

  @Test(arguments: [0, 1, 2, 5]) func orderAndBitsDoNotDependOnWorkers(_ workers: Int) throws {
    let loader = try BatchLoader<[UInt64]>(from: 7, to: 60, workers: workers, ahead: 4) { index, _ in Self.batch(index) }
    for index in 7..<60 {
      #expect(loader.position == index)
      #expect(try loader.next() == Self.batch(index))
    }
    #expect(try loader.next() == nil && loader.position == 60)
    #expect(try loader.next() == nil)
  }

  /// At most `ahead` batches are claimed beyond those handed out.
  @Test func memoryIsBounded() throws {
    let latest = Mutex(-1)
    let loader = try BatchLoader<Int>(workers: 4, ahead: 3) { index, _ in
      latest.withLock { $0 = max($0, index) }
      return index
    }
    for index in 0..<40 {
      usleep(300)
      #expect(latest.withLock { $0 } < index + 3)
      #expect(try loader.next() == index)
    }
  }

  @Test(arguments: [0, 3]) func errorsArriveInTheirPlace(_ workers: Int) throws {
    let loader = try BatchLoader<Int>(workers: workers, ahead: 8) { index, _ throws(MedDINOError) in
      if index >= 5 { throw .format("case \(index) is broken") }
      usleep(500)
      return index
    }
    for index in 0..<5 { #expect(try loader.next() == index) }
    for _ in 0..<3 {
      let error = #expect(throws: MedDINOError.self) { try loader.next() }
      #expect(error == .format("case 5 is broken"))
    }
    #expect(loader.position == 5)
  }

  @Test(arguments: [0, 2]) func cancelEndsIt(_ workers: Int) throws {
    let loader = try BatchLoader<Int>(workers: workers, ahead: 2) { index, control throws(MedDINOError) in
      if index > 0, workers > 0 {
        while true {
          usleep(200)
          try control.check()
        }
      }
      return index
    }
    #expect(try loader.next() == 0)
    let task = BackgroundTask {
      usleep(2000)
      loader.cancel()
    }
    if workers == 0 { loader.cancel() } else { try task.start() }
    let error = #expect(throws: MedDINOError.self) { try loader.next() }
    #expect(error == .cancelled)
    task.join()
  }

  /// The consumer's own cancel only ends its waiting.
  @Test func aWaitingConsumerCanGiveUp() throws {
    let open = Mutex(false)
    let loader = try BatchLoader<Int>(workers: 1, ahead: 1) { index, control throws(MedDINOError) in
      while !open.withLock({ $0 }) {
        usleep(200)
        try control.check()
      }
      return index
    }
    let cancellation = Cancellation()
    cancellation.request()
    let error = #expect(throws: MedDINOError.self) { try loader.next(RunControl(cancellation: cancellation)) }
    #expect(error == .cancelled)
    open.withLock { $0 = true }
    #expect(try loader.next() == 0)
  }

  /// Objects that worker threads hold are gone when the loader is.
  @Test func nothingIsLeftBehind() throws {
    final class Guard: Sendable {
      let count: Atomic<Int>
      init(_ count: Int) { self.count = Atomic(count) }
    }
    weak var watched: Guard?
    do {
      let held = Guard(0)
      watched = held
      for _ in 0..<20 {
        let loader = try BatchLoader<Guard>(workers: 3, ahead: 5) { index, _ in
          held.count.add(1, ordering: .relaxed)
          return index % 2 == 0 ? held : Guard(index)
        }
        _ = try loader.next()
      }
      #expect(held.count.load(ordering: .relaxed) >= 20)
    }
    #expect(watched == nil)
  }

  @Test func faultsAreRefused() {
    #expect(throws: MedDINOError.self) { try BatchLoader<Int>(from: 3, to: 2, workers: 0, ahead: 1) { index, _ in index } }
    #expect(throws: MedDINOError.self) { try BatchLoader<Int>(workers: -1, ahead: 1) { index, _ in index } }
    #expect(throws: MedDINOError.self) { try BatchLoader<Int>(workers: 1, ahead: 0) { index, _ in index } }
  }
}
