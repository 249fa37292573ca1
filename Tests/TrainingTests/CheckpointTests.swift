import Platform
import TestSupport
import Tensors
import Testing
import WeightFiles

@testable import Training

struct CheckpointTests {
  private func failure(_ body: () throws -> Void) -> MedDINOError? {
    do { try body() } catch { return error as? MedDINOError }
    return nil
  }

  /// A run that is saved, forgotten and restored ends with the bits of one that was never interrupted.
  @Test func resumeIsBitExact() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/run.safetensors"
      let whole = try ToyTraining()
      for _ in 0..<20 { try whole.step() }
      let first = try ToyTraining()
      for _ in 0..<9 { try first.step() }
      first.state.counters = ["shuffle": .max, "augment": 3]
      _ = first.state.earlyStop.isBest(0.25)
      _ = first.state.earlyStop.isBest(-0.0)
      first.state.owner = .object(("note", .string("π \"quoted\"\n")), ("list", .numbers([0.1, .infinity])))
      try TrainingCheckpoint.save(first.state, first.tensors, to: path)
      let second = try ToyTraining(seed: 7)
      second.parameters[0].value.floats[3] = 99
      try second.setGradients { _, _ in 5 }
      let file = try TrainingCheckpoint(path)
      try file.restore(second.tensors, architecture: second.state.architecture)
      second.state = file.state
      #expect(second.state == first.state && second.bits == first.bits)
      #expect(second.optimizer.steps == 9 && second.optimizer.memberSteps == [9, 9, 9, 9])
      for _ in 9..<20 { try second.step() }
      #expect(second.bits == whole.bits)
      #expect(second.state.history == whole.state.history && second.state.step == 20)
    }
  }

  @Test func skippedStepsSurvive() throws {
    try withTemporaryFolder { folder in
      let toy = try ToyTraining(options: .init(nonFinite: .skip(limit: 3)))
      try toy.setGradients { _, _ in .nan }
      try toy.optimizer.step(.init(learningRate: 1))
      try TrainingCheckpoint.save(toy.state, toy.tensors, to: folder + "/c.safetensors")
      let other = try ToyTraining()
      try TrainingCheckpoint(folder + "/c.safetensors").restore(other.tensors, architecture: other.state.architecture)
      #expect(other.optimizer.skipped == 1 && other.optimizer.skippedInRow == 1 && other.optimizer.steps == 0)
    }
  }

  /// A checkpoint after a step, and its bytes.
  private func saved(to path: String) throws -> (ToyTraining, bytes: [UInt8]) {
    let toy = try ToyTraining()
    try toy.step()
    try TrainingCheckpoint.save(toy.state, toy.tensors, to: path)
    return (toy, try InputFile.contents(path))
  }

  @Test func wrongFilesAreRefusedAndNothingChanges() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/c.safetensors"
      let (toy, bytes) = try saved(to: path)
      let bits = toy.bits
      for count in [0, 7, 100, bytes.count / 2, bytes.count - 1] {
        try AtomicFile.write(Array(bytes.prefix(count)), to: folder + "/short.safetensors")
        let error = failure { _ = try TrainingCheckpoint(folder + "/short.safetensors") }
        #expect(error?.kind == .format, "\(count) bytes: \(String(describing: error))")
      }
      let wider = JSON.object(("dim", .integer(6)), ("name", .string("toy")))
      let other = failure { try TrainingCheckpoint(path).restore(toy.tensors, architecture: wider) }
      #expect(other?.kind == .invalid && other?.message.hasSuffix("architecture.dim is 5, expected 6") == true)
      let text = String(decoding: bytes, as: UTF8.self)
      #expect(text.contains(#""meddino_checkpoint": "1""#))
      let newer = bytes.replacing(Array(#""meddino_checkpoint": "1""#.utf8), with: Array(#""meddino_checkpoint": "9""#.utf8))
      try AtomicFile.write(newer, to: folder + "/newer.safetensors")
      let version = failure { _ = try TrainingCheckpoint(folder + "/newer.safetensors") }
      #expect(version?.kind == .unsupported && version?.message.contains("version 9, this library reads up to 1") == true)
      try SafeTensorsWriter.write([("a", toy.parameters[0].value)], to: folder + "/model.safetensors")
      #expect(failure { _ = try TrainingCheckpoint(folder + "/model.safetensors") }?.message.contains("not a training checkpoint") == true)
      #expect(failure { _ = try TrainingCheckpoint(folder + "/none") }?.kind == .io)
      #expect(toy.bits == bits)
    }
  }

  /// One flipped bit of any tensor is noticed.
  @Test func damagedTensorsAreNamed() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/c.safetensors"
      let (toy, bytes) = try saved(to: path)
      let file = try SafeTensorsFile(InputFile(path))
      for name in ["weights.head.last", "adamw.first.head.w", "adamw.second.head.w", "average.dino_encoder.a"] {
        let entry = try #require(file.entry(name))
        var damaged = bytes
        damaged[entry.offset + 2] ^= 1
        try AtomicFile.write(damaged, to: folder + "/d.safetensors")
        let checkpoint = try TrainingCheckpoint(folder + "/d.safetensors")
        let error = failure { try checkpoint.restore(ToyTraining().tensors, architecture: toy.state.architecture) }
        #expect(error?.kind == .format && error?.message.contains("\"\(name)\" is damaged") == true)
        #expect(failure { _ = try checkpoint.tensor(name, in: MemoryBudget()) }?.kind == .format)
      }
    }
  }

  @Test func otherTensorsAreNamed() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/c.safetensors"
      let toy = try ToyTraining()
      var fewer = toy.tensors
      fewer.parameters.removeLast()
      fewer.average = nil
      try TrainingCheckpoint.save(toy.state, fewer, to: path)
      let missing = failure { try TrainingCheckpoint(path).restore(toy.tensors, architecture: toy.state.architecture) }
      #expect(missing?.message.contains("lacks \"weights.head.last\"") == true && missing?.message.contains("and 2 more") == true)
      try TrainingCheckpoint.save(toy.state, toy.tensors, to: path)
      let surplus = failure { try TrainingCheckpoint(path).restore(fewer, architecture: toy.state.architecture) }
      #expect(surplus?.message.contains("holds") == true && surplus?.kind == .format)
      var wide = toy.tensors
      wide.parameters[3] = Parameter("head.last", try Tensor([2], in: MemoryBudget()))
      let shape = failure { try TrainingCheckpoint(path).restore(wide, architecture: toy.state.architecture) }
      #expect(shape?.message.contains("\"weights.head.last\" is [1] float32, expected [2] float32") == true)
      var twice = toy.tensors
      twice.extra = [("x", toy.parameters[0].value), ("x", toy.parameters[0].value)]
      #expect(failure { try TrainingCheckpoint.save(toy.state, twice, to: path) }?.kind == .invalid)
    }
  }

  @Test func folderKeepsTheNewest() throws {
    try withTemporaryFolder { folder in
      let toy = try ToyTraining()
      let store = try CheckpointFolder(folder + "/made/here", keep: 2)
      #expect(try store.latest() == nil)
      try AtomicFile.write([1], to: store.folder + "/checkpoint_notes.safetensors")
      try AtomicFile.write([1], to: store.folder + "/other_0000000001.safetensors")
      for step in [5, 10, 123_456_789_012, 15] {
        toy.state.step = step
        try store.save(toy.state, toy.tensors)
      }
      // 15 came after a return to an earlier checkpoint: of those up to 15 the newest two stay.
      #expect(try store.steps() == [10, 15, 123_456_789_012])
      #expect(try store.latest() == store.path(step: 123_456_789_012))
      #expect(try folderEntries(store.folder).count == 5)
      #expect(throws: MedDINOError.self) { try CheckpointFolder(folder, keep: 0) }
      #expect(throws: MedDINOError.self) { try CheckpointFolder(folder, name: "a/b") }
    }
  }

  /// Of a process that is gone (numbers above the system's limit never exist), of one that lives, and of no checkpoint.
  @Test func abandonedFilesAreRemoved() throws {
    try withTemporaryFolder { folder in
      let store = try CheckpointFolder(folder)
      let base = store.path(step: 3)
      for ending in [".tmp-999999999-1", ".tmp-1-1", ".tmp-x-1"] { try AtomicFile.write([1], to: base + ending) }
      try AtomicFile.write([1], to: folder + "/notes.tmp-999999999-1")
      try store.removeAbandoned()
      let left = try folderEntries(folder)
      #expect(left.count == 3 && !left.contains { $0.contains("checkpoint") && $0.contains("999999999") })
    }
  }
}
