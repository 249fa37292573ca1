import Platform
import Tensors
import TestSupport
import Testing
@testable import WeightFiles

@Suite struct TorchArchiveTests {
  let budget = MemoryBudget()

  private func open(_ zip: ZipBuilder) throws -> TorchArchive { try TorchArchive(memorySource(zip.bytes()), in: budget) }
  private func floats(_ archive: TorchArchive, _ value: PickleValue?) throws -> [Double] {
    let reference = try #require(value?.tensorValue)
    let tensor = try archive.tensor(reference, in: budget)
    return (0..<tensor.count).map { tensor.value($0) }
  }
  private func pickle(_ body: (inout PickleBuilder) -> Void) -> PickleBuilder {
    var builder = PickleBuilder()
    body(&builder)
    builder.stop()
    return builder
  }

  @Test func readsAStateDict() throws {
    let archive = try open(PickleBuilder.stateDict([("a.weight", [2, 2], [1, 2, 3, 4]), ("b", [], [7])], under: ["teacher"]))
    let teacher = try #require(archive.root["teacher"])
    #expect(teacher.dictValue?.map(\.key.stringValue) == ["a.weight", "b"])
    #expect(try floats(archive, teacher["a.weight"]) == [1, 2, 3, 4])
    #expect(teacher["b"]?.tensorValue?.shape == [])
    #expect(try floats(archive, teacher["b"]) == [7])
  }

  @Test func readsZip64Fields() throws {
    var zip = PickleBuilder.stateDict([("a", [3], [1, 2, 3])])
    zip.isWide = true
    #expect(try floats(open(zip), open(zip).root["a"]) == [1, 2, 3])
  }

  @Test(arguments: ["little", "big"]) func gathersViewsInBothByteOrders(order: String) throws {
    let values = (0..<12).map { Float($0) }
    let bytes = values.flatMap { order == "big" ? littleEndian($0.bitPattern.byteSwapped) : littleEndian($0.bitPattern) }
    let archive = try open(
      pickle {
        $0.op("]")
        $0.op("(")
        $0.tensor(key: "0", count: 12, shape: [4, 3], strides: [1, 4])
        $0.tensor(key: "0", count: 12, shape: [2, 2], strides: [4, 1], offset: 5)
        $0.tensor(key: "0", count: 12, shape: [2, 3], strides: [0, 2], offset: 1)
        $0.tensor(key: "0", count: 12, shape: [2, 1, 3], strides: [6, 99, 2])
        $0.tensor(key: "0", count: 12, shape: [0, 5], strides: [5, 1], offset: 40)
        $0.op("e")
      }.archive([("0", bytes)], byteOrder: order))
    let found = try (archive.root.elements ?? []).map { try floats(archive, $0) }
    #expect(found[0] == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
    #expect(found[1] == [5, 6, 9, 10])
    #expect(found[2] == [1, 3, 5, 1, 3, 5])
    #expect(found[3] == [0, 2, 4, 6, 8, 10])
    #expect(found[4] == [])
  }

  @Test func neverCallsUnknownFunctions() throws {
    let archive = try open(
      pickle {
        $0.op("(")
        $0.text("bad")
        $0.global("os", "system")
        $0.text("true")
        $0.raw([0x85])
        $0.op("R")
        $0.text("object")
        $0.global("argparse", "Namespace")
        $0.op(")")
        $0.raw([0x81])
        $0.op("}")
        $0.text("lr")
        $0.int(3)
        $0.op("s")
        $0.op("b")
        $0.text("after")
        $0.int(-5)
        $0.op("d")
      }.archive())
    if case .opaque(let name)? = archive.root["bad"] { #expect(name == "os.system") } else { Issue.record("not inert") }
    #expect(archive.root["object"]?.kind == "an object of argparse.Namespace")
    #expect(archive.root["after"]?.intValue == -5)
  }

  @Test func laterKeysReplaceEarlierOnes() throws {
    let archive = try open(
      pickle {
        $0.op("(")
        for (key, value) in [("a", 1), ("b", 2), ("a", 3)] {
          $0.text(key)
          $0.int(value)
        }
        $0.op("d")
      }.archive())
    #expect(try archive.root.json(MemoryCharge(budget, "json")).text() == #"{"a": 3, "b": 2}"#)
  }

  @Test func sharedObjectsAreSeenWhole() throws {
    // A list that is put into a tuple first and filled afterwards.
    let archive = try open(
      pickle {
        $0.op("]")
        $0.raw([0x94, 0x85])
        $0.op("h", [0])
        $0.int(9)
        $0.op("a")
        $0.op("0")
      }.archive())
    #expect(try archive.root.json(MemoryCharge(budget, "json")).text() == "[[9]]")
  }

  @Test func tensorsWithAttributesAreTensors() throws {
    let archive = try open(
      pickle {
        $0.global("torch._tensor", "_rebuild_from_type_v2")
        $0.op("(")
        $0.global("torch._utils", "_rebuild_tensor_v2")
        $0.global("torch", "Tensor")
        $0.op("(")
        $0.op("(")
        $0.text("storage")
        $0.global("torch", "FloatStorage")
        $0.text("0")
        $0.text("cpu")
        $0.int(2)
        $0.op("t")
        $0.op("Q")
        $0.int(0)
        $0.tuple([2])
        $0.tuple([1])
        $0.raw([0x89])
        $0.orderedDict()
        $0.op("t")
        $0.op("}")
        $0.op("t")
        $0.op("R")
      }.archive([("0", littleEndian([3, 4]))]))
    #expect(try floats(archive, archive.root) == [3, 4])
  }

  @Test func refusesOtherFormatsByName() throws {
    func message(_ bytes: [UInt8]) -> String {
      do { _ = try TorchArchive(memorySource(bytes), in: budget) } catch { return error.message }
      return ""
    }
    #expect(message([0x80, 2, 0x8a, 10]).contains("before 1.6"))
    #expect(message(Array("hello there".utf8)).contains("not a PyTorch checkpoint"))
    let plain = pickle { $0.op("N") }
    #expect(message(plain.archive(extra: [.init("model/constants.pkl", [])]).bytes()).contains("TorchScript"))
    #expect(message(plain.archive(extra: [.init("other/x", [])]).bytes()).contains("outside"))
    var squeezed = plain.archive()
    squeezed.members[0].method = 8
    #expect(message(squeezed.bytes()).contains("compressed"))
    squeezed.members.append(.init("model/code/x.py", [1]))
    #expect(message(squeezed.bytes()).contains("TorchScript"))
    let v3 = pickle { $0.tensor(key: "0", count: 1, shape: [1], function: "_rebuild_tensor_v3") }
    #expect(message(v3.archive([("0", [0, 0, 0, 0])]).bytes()).contains("_rebuild_tensor_v3"))
    #expect(message(pickle { $0.op("I") }.archive().bytes()).contains("opcode 0x49"))
    #expect(message(ZipBuilder([.init("readme.txt", [1])]).bytes()).contains("no PyTorch checkpoint"))
  }
}

/// The official files. `quirks.pth` has a view of every kind, `nnunet_checkpoint.pth` is a whole training state.
@Suite(.enabled(if: checkpointGoldens != nil, "no golden folder")) struct TorchArchiveGoldenTests {
  let budget = MemoryBudget()
  let folder = checkpointGoldens ?? ""

  @Test func quirks() throws {
    let archive = try TorchArchive(InputFile(folder + "/quirks.pth"), in: budget)
    let expected = try SafeTensorsFile(InputFile(folder + "/expected.safetensors"))
    let names = expected.names.filter { $0.hasPrefix("quirks.") }
    #expect(names.count == 13)
    for name in names {
      let reference = try #require(archive.root["state_dict"]?[String(name.dropFirst(7))]?.tensorValue, "\(name)")
      let (got, want) = (try archive.tensor(reference, in: budget), try expected.tensor(name, in: budget))
      #expect(got.shape == want.shape, "\(name)")
      #expect((0..<want.count).allSatisfy { got.value($0) == want.value($0) }, "\(name)")
    }
    #expect(archive.root["epoch"]?.intValue == 17)
    #expect(archive.root["np"]?.doubleValue == 2.5)
    #expect(archive.root["device"]?.stringValue == "cpu")
    #expect(archive.root["size"]?.elements?.compactMap(\.intValue) == [2, 3])
    #expect(archive.root["nested"]?["set"]?.elements?.count == 1)
    #expect(archive.root["dtype"]?.kind == "an object of torch.float16")
  }

  @Test func forbiddenGlobalIsNotCalled() throws {
    let archive = try TorchArchive(InputFile(folder + "/forbidden_global.pth"), in: budget)
    let tensor = try archive.tensor(#require(archive.root["teacher"]?["w"]?.tensorValue), in: budget)
    #expect(Array(tensor.floats) == [1, 1])
    #expect(archive.root["teacher"]?["x"]?.kind ?? archive.root["x"]?.kind == "an object of posix.system")
  }

  @Test func trainingState() throws {
    let archive = try TorchArchive(InputFile(folder + "/nnunet_checkpoint.pth"), in: budget)
    let path = folder + "/nnunet_checkpoint.expected.json"
    let expected = try JSON.parse(InputFile.contents(path), source: path)
    for key in ["current_epoch", "trainer_name", "inference_allowed_mirroring_axes", "init_args", "logging"] {
      #expect(try archive.root[key]?.json(MemoryCharge(budget, "json")) == expected[key], "\(key)")
    }
    #expect(archive.root["_best_ema"]?.doubleValue == expected["best_ema"]?.doubleValue)
    let file = try SafeTensorsFile(InputFile(folder + "/expected.safetensors"))
    let state = try #require(archive.root["optimizer_state"]?["state"]?.dictValue)
    for (name, index, moment) in [("exp_avg.0", 0, "exp_avg"), ("exp_avg_sq.180", 180, "exp_avg_sq")] {
      let entry = try #require(state.first { $0.key.intValue == index }?.value[moment]?.tensorValue)
      let (got, want) = (try archive.tensor(entry, in: budget), try file.tensor("nnunet.opt." + name, in: budget))
      #expect(got.bytes.elementsEqual(want.bytes), "\(name)")
    }
  }
}
