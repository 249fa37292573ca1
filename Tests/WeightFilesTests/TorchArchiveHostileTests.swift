import Platform
import Tensors
import TestSupport
import Testing
@testable import WeightFiles

/// Files made to hurt. Every one must end in an error or in harmless values; a trap fails the whole run.
@Suite struct TorchArchiveHostileTests {
  private func message(_ zip: ZipBuilder) -> String? { message(zip.bytes()) }
  private func message(_ bytes: [UInt8]) -> String? {
    do { _ = try TorchArchive(memorySource(bytes), in: MemoryBudget()) } catch { return error.message }
    return nil
  }
  private func pickle(_ body: (inout PickleBuilder) -> Void) -> ZipBuilder {
    var builder = PickleBuilder()
    body(&builder)
    builder.stop()
    return builder.archive([("0", [UInt8](repeating: 0, count: 16))])
  }

  @Test(arguments: [
    (4, [5], [1], 0), (4, [2, 2], [2, 2], 1), (4, [1], [1], -1), (4, [1], [-1], 0), (4, [-1], [1], 0), (5, [1], [1], 0),
    (-1, [1], [1], 0), (4, [1 << 62, 4], [1, 1], 0), (4, [3, 1 << 62], [1 << 62, 1], 0), (4, [2], [.max], 0),
    (4, [2], [1], .max), (4, [1 << 40], [0], 0), (1 << 62, [1], [1], 0), (4, [0, .max, .max], [1, 1, 1], 0),
  ])
  func impossibleTensors(count: Int, shape: [Int], strides: [Int], offset: Int) {
    #expect(message(pickle { $0.tensor(key: "0", count: count, shape: shape, strides: strides, offset: offset) }) != nil)
  }

  @Test func missingStorage() {
    #expect(message(pickle { $0.tensor(key: "7", count: 1, shape: [1]) })?.contains("missing") == true)
    #expect(message(pickle { $0.tensor(key: "../byteorder", count: 1, shape: [1]) }) != nil)
  }

  @Test func deepAndCircularObjects() {
    #expect(
      message(
        pickle {
          for _ in 0..<100_000 { $0.op("]") }; for _ in 0..<99_999 { $0.op("a") }
        })?.contains("deeper") == true)
    #expect(
      message(
        pickle {
          $0.op("]"); $0.raw([0x94]); $0.op("h", [0]); $0.op("a")
        })?.contains("itself") == true)
    #expect(message(pickle { for _ in 0..<200_000 { $0.op("(") } }) != nil)
  }

  @Test func objectsThatMultiply() {
    // Each list holds the one before ten times: 10^40 elements when written out, but only 400 in memory.
    let zip = pickle {
      $0.op("]")
      for level in 0..<40 {
        $0.op("q", [UInt8(level)])
        $0.op("0")
        $0.op("]")
        for _ in 0..<10 { $0.op("h", [UInt8(level)]); $0.op("a") }
      }
    }
    let archive = try? TorchArchive(memorySource(zip.bytes()), in: MemoryBudget())
    #expect(throws: MedDINOError.self) { try archive?.root.json(limit: 10_000, MemoryCharge(MemoryBudget(), "json")) }
  }

  @Test func keysAndTextsThatMultiply() throws {
    // A key of tuples within tuples: 2^60 parts when written out.
    let keys = pickle {
      $0.op("}"); $0.op(")")
      for _ in 0..<60 { $0.op("q", [1]); $0.op("h", [1]); $0.raw([0x86]) }
      $0.op("N"); $0.op("s")
    }
    // One text of 1 MiB, a thousand times.
    let texts = pickle {
      $0.op("]"); $0.op("("); $0.text(String(repeating: "x", count: 1 << 20)); $0.op("q", [1])
      for _ in 0..<1000 { $0.op("h", [1]) }
      $0.op("e")
    }
    for zip in [keys, texts] {
      let archive = try TorchArchive(memorySource(zip.bytes()), in: MemoryBudget())
      #expect(throws: MedDINOError.self) { try archive.root.json(MemoryCharge(MemoryBudget(), "json")) }
    }
  }

  @Test func whatAPickleMakesCountsAgainstTheLimit() throws {
    // A list of empty lists: one byte of the file each, over a hundred in memory.
    let bytes = pickle {
      $0.op("]"); $0.op("(")
      for _ in 0..<200_000 { $0.op("]") }
      $0.op("e")
    }.bytes()
    let open = MemoryBudget()
    let archive = try TorchArchive(memorySource(bytes), in: open)
    #expect(archive.root.elements?.count == 200_000)
    let kept = open.bytesInUse
    #expect(kept > 200_000 * 80 && kept < open.peakBytes)
    var refused = 0
    var opened = 0
    for limit in stride(from: 100_000, to: open.peakBytes + 4_000_000, by: 4_000_000) {
      let budget = MemoryBudget(limit: limit)
      do {
        _ = try TorchArchive(memorySource(bytes), in: budget)
        opened += 1
      } catch {
        #expect(error.kind == .outOfMemory && error.message.contains("max_bytes"), "\(error.message)")
        refused += 1
      }
      #expect(budget.bytesInUse == 0)
    }
    #expect(refused > 3 && opened > 0)
    withExtendedLifetime(archive) {}
  }

  @Test func everyRefusalOfACheckpointGivesAllBack() throws {
    let bytes = PickleBuilder.stateDict([("a", [2, 2], [1, 2, 3, 4]), ("b", [], [7])], under: ["teacher"]).bytes()
    let budget = MemoryBudget()
    _ = try TorchArchive(memorySource(bytes), in: budget)
    let count = budget.allocationCount
    #expect(count >= 3)
    for index in 0..<count {
      budget.restartCount()
      budget.failAllocation(index)
      do {
        _ = try TorchArchive(memorySource(bytes), in: budget)
        Issue.record("allocation \(index) was not needed")
      } catch { #expect(error.kind == .outOfMemory) }
      #expect(budget.bytesInUse == 0)
    }
    budget.failAllocation(-1)
    _ = try TorchArchive(memorySource(bytes), in: budget)
  }

  @Test func stackAbuse() {
    for code in "0taesubdlRQqrhj." { #expect(message(pickle { $0.op(code) }) != nil, "\(code)") }
    #expect(
      message(
        pickle {
          $0.op("N"); $0.op("("); $0.op("R")
        }) != nil)
    #expect(
      message(
        pickle {
          $0.op("N"); $0.op("N")
        }) != nil)
    #expect(message(pickle { $0.op("X", [255, 255, 255, 255]) }) != nil)
    #expect(message(pickle { $0.raw([0x8b, 255, 255, 255, 255]) }) != nil)
    #expect(message(pickle { $0.raw([0x95, 255, 255, 255, 255, 255, 255, 255, 255]) }) != nil)
    #expect(message(pickle { $0.op("X", [1, 0, 0, 0, 0xff]) }) != nil)
    #expect(message(pickle { $0.raw([0x80, 9]) }) != nil)
  }

  @Test func damagedDirectories() {
    let good = pickle { $0.op("N") }
    #expect(message(good) == nil)
    for name in ["/model/x", "model/../x", "model\\x", "model/./x", "", "model/data.pkl"] {
      var zip = good
      zip.members.append(.init(name, [1]))
      #expect(message(zip) != nil, "\(name)")
    }
    var zip = good
    zip.members[0].flags = 1
    #expect(message(zip)?.contains("encrypted") == true)
    #expect(message([0x50, 0x4b, 3, 4]) != nil)
    #expect(message([]) != nil)
    #expect(message([UInt8](good.bytes().dropLast())) != nil)
    // A member whose size reaches into the next one.
    var bytes = good.bytes()
    let at = bytes.indices.first { bytes[$0...].starts(with: [0x50, 0x4b, 1, 2]) } ?? 0
    for place in [20, 24] { bytes[at + place] = 0xf0 }
    #expect(message(bytes)?.contains("reaches") == true)
  }

  /// Reads everything a mutated file still offers, within a limit of memory.
  private func exercise(_ bytes: [UInt8]) -> Bool {
    let budget = MemoryBudget(limit: 64 << 20)
    guard let archive = try? TorchArchive(memorySource(bytes), in: budget) else { return false }
    _ = try? archive.root.json(limit: 100_000, MemoryCharge(budget, "json"))
    var left = 2000
    func visit(_ value: PickleValue) {
      left -= 1
      guard left > 0 else { return }
      if let tensor = value.tensorValue { _ = try? archive.tensor(tensor, in: budget) }
      value.dictValue?.forEach { visit($0.value) }
      value.elements?.forEach(visit)
    }
    visit(archive.root)
    return true
  }

  @Test func mutationsOfBuiltFiles() {
    var generator = SeededGenerator(2605)
    var wide = PickleBuilder.stateDict([("a", [2, 2], [1, 2, 3, 4]), ("b", [], [7])], under: ["teacher"])
    let narrow = wide.bytes()
    wide.isWide = true
    var survived = 0
    for round in 0..<4000 where exercise(mutated(round % 2 == 0 ? narrow : wide.bytes(), &generator)) { survived += 1 }
    #expect(survived > 0 && survived < 4000)
  }

  @Test(
    .enabled(if: checkpointGoldens != nil, "no golden folder"),
    arguments: [
      ("quirks.pth", 3000), ("forbidden_global.pth", 1500), ("official_teacher.pth", 40), ("nnunet_checkpoint.pth", 12),
    ])
  func mutationsOfOfficialFiles(name: String, rounds: Int) throws {
    let original = try InputFile.contents((checkpointGoldens ?? "") + "/" + name)
    #expect(exercise(original))
    var generator = SeededGenerator(UInt64(rounds))
    var refused = 0
    for _ in 0..<rounds where !exercise(mutated(original, &generator)) { refused += 1 }
    #expect(refused > 0)
  }
}

/// A damaged copy: cut short, bytes changed (mostly near the start or the end, where structure lies), or a stretch doubled.
func mutated(_ original: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
  var bytes = original
  let kind = Int.random(in: 0..<10, using: &generator)
  if kind == 0 { return Array(bytes.prefix(Int.random(in: 0..<bytes.count, using: &generator))) }
  if kind == 1 {
    let start = Int.random(in: 0..<bytes.count, using: &generator)
    bytes.insert(contentsOf: Array(bytes[start..<min(bytes.count, start + 40)]), at: start)
    return bytes
  }
  for _ in 0..<Int.random(in: 1...4, using: &generator) {
    let zone = min(bytes.count, 4000)
    let at = Int.random(in: 0..<zone, using: &generator)
    let place = kind % 2 == 0 ? at : bytes.count - 1 - at
    bytes[place] = [0, 0xff, 0x80, 0x7f, UInt8.random(in: 0...255, using: &generator)].randomElement(using: &generator) ?? 0
  }
  return bytes
}
