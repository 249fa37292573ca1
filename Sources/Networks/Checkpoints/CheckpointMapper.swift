import Platform
import Tensors
import WeightFiles

/// Recognises a layout by its names and gives every tensor its official name.
struct CheckpointMapper {
  struct Name {
    /// Without the wrappers of distributed training, compilation and backbones.
    let clean: String
    let stored: String
  }
  let source: any WeightSource
  let configuration: JSON?
  let declared: EncoderConfiguration?
  let training: NNUNetState?
  var names: [Name] = []
  private var isTeacher: Bool
  private var unused: [String] = []
  private var notes: [String] = []

  /// `isTeacher`: the tensors were under the key "teacher".
  init(
    _ source: any WeightSource, isTeacher: Bool, configuration: JSON?, declared: EncoderConfiguration? = nil, training: NNUNetState?
  ) {
    self.source = source
    self.isTeacher = isTeacher
    self.configuration = configuration
    self.declared = declared
    self.training = training
    clean()
  }

  /// Throws: `.format` when the names belong to no known layout.
  func contents() throws(MedDINOError) -> CheckpointContents {
    let layout = try recognised()
    var notes = notes
    let encoder: [CheckpointEntry]
    var decoder: [CheckpointEntry] = []
    switch layout {
    case .official, .teacher: encoder = try plain(names)
    case .nnUNet:
      decoder = try plain(names.filter { $0.clean.hasPrefix(DecoderLoader.prefix) })
      encoder = try plain(names.filter { !$0.clean.hasPrefix(DecoderLoader.prefix) }, removing: Primus.encoderPrefix)
    case .huggingFace: encoder = try huggingFace()
    case .timm:
      encoder = try timm()
      notes.append("timm drops mask_token, key biases and RoPE periods: zeros and exact periods stand in")
    }
    if layout == .huggingFace { notes.append("HuggingFace drops RoPE periods and key biases: exact periods and zeros stand in") }
    return try CheckpointContents(
      label: source.label, layout: layout, encoder: encoder, decoder: decoder, unused: unused, notes: notes,
      configuration: configuration, declared: declared, training: training)
  }

  // MARK: names

  private static let wrappers: Set<Substring> = [
    "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "backbone",
  ]

  private mutating func clean() {
    let states = source.names.contains { $0.hasPrefix("teacher.") }
    if states { isTeacher = true }
    for stored in source.names {
      var parts = stored.split(separator: ".", omittingEmptySubsequences: false)
      if parts.contains("backbone") { isTeacher = true }
      if states, parts.first != "teacher" {
        unused.append(stored)
        continue
      }
      if states { parts.removeFirst() }
      if stored.contains("dino_head") || stored.contains("ibot") {
        unused.append(stored)
      } else {
        names.append(Name(clean: parts.filter { !Self.wrappers.contains($0) }.joined(separator: "."), stored: stored))
      }
    }
    if !unused.isEmpty { notes.append("\(unused.count) tensors of pretraining heads and other networks are left out") }
    dropHuggingFaceWrappers()
  }

  /// `model.layer.*`, `dinov3_vit.*`: in memory and in larger models the backbone has a name.
  private mutating func dropHuggingFaceWrappers() {
    guard names.contains(where: { $0.clean.hasSuffix("embeddings.cls_token") }) else { return }
    names = names.map { name in
      var parts = name.clean.split(separator: ".")[...]
      while let first = parts.first, ["model", "dinov3_vit", "encoder"].contains(first) { parts.removeFirst() }
      return Name(clean: parts.joined(separator: "."), stored: name.stored)
    }
  }

  private func recognised() throws(MedDINOError) -> CheckpointLayout {
    let clean = Set(names.map(\.clean))
    if clean.contains(where: { $0.hasPrefix(Primus.encoderPrefix) }) { return .nnUNet }
    if training != nil {
      let trainer = training?.trainerName ?? "an unknown trainer"
      throw .unsupported("\(source.label): an nnU-Net checkpoint of \(trainer), expected a Primus network on a DINOv3 encoder")
    }
    if clean.contains("embeddings.cls_token") { return .huggingFace }
    if clean.contains("reg_token") || clean.contains("blocks.0.gamma_1") { return .timm }
    if clean.contains("cls_token"), clean.contains("patch_embed.proj.weight") { return isTeacher ? .teacher : .official }
    let some = names.prefix(3).map(\.clean).joined(separator: ", ")
    throw .format(
      "\(source.label): no known layout of a DINOv3 model; it has \(names.count) tensors\(some.isEmpty ? "" : " such as \(some)")")
  }

  // MARK: layouts with official names

  private func plain(_ names: [Name], removing prefix: String = "") throws(MedDINOError) -> [CheckpointEntry] {
    var entries: [CheckpointEntry] = []
    for name in names {
      let official = name.clean.hasPrefix(prefix) ? String(name.clean.dropFirst(prefix.count)) : name.clean
      entries.append(try CheckpointEntry(official, [.stored(name.stored)], from: source))
    }
    return entries
  }
}
