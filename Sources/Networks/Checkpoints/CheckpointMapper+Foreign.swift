import Platform
import Tensors

/// Layouts with names of their own. Source: model specification 2.4, 2.5.
extension CheckpointMapper {
  /// A block's parameter: "layer.3.norm1.weight" is ("layer.", 3, "norm1.weight").
  private func split(_ name: String, _ group: String) -> (index: Int, rest: String)? {
    guard name.hasPrefix(group) else { return nil }
    let parts = name.dropFirst(group.count).split(separator: ".", maxSplits: 1)
    guard parts.count == 2, let index = Int(parts[0]), index >= 0, String(index) == parts[0] else { return nil }
    return (index, String(parts[1]))
  }

  /// Rows of q, k and v under one another, and what the file does not have: a k bias of zero and its mask.
  private struct Attention {
    var weights: [String: String] = [:]
    var biases: [String: String] = [:]
  }

  private func fused(_ prefix: String, _ parts: [Int: Attention], rows: (Int) -> Int?) throws(MedDINOError) -> [CheckpointEntry] {
    var entries: [CheckpointEntry] = []
    for (index, attention) in parts.sorted(by: { $0.key < $1.key }) {
      let name = "blocks.\(index).attn.qkv."
      if !attention.weights.isEmpty { entries.append(try fusedWeight(name + "weight", attention.weights)) }
      if attention.biases.isEmpty { continue }
      guard let dim = rows(index) else { throw .format("\(source.label): \(prefix)\(index) has biases of q or v, but no weights") }
      var pieces: [CheckpointEntry.Piece] = []
      for part in ["q", "k", "v"] { pieces.append(attention.biases[part].map { .stored($0) } ?? .zeros(dim)) }
      entries.append(try CheckpointEntry(name + "bias", pieces, shape: [3 * dim], from: source))
      entries.append(try CheckpointEntry(name + "bias_mask", [.ones(dim), .zeros(dim), .ones(dim)], shape: [3 * dim], from: source))
    }
    return entries
  }

  private func fusedWeight(_ name: String, _ parts: [String: String]) throws(MedDINOError) -> CheckpointEntry {
    var pieces: [CheckpointEntry.Piece] = []
    var (rows, columns) = (0, 0)
    for part in ["q", "k", "v"] {
      guard let stored = parts[part], let shape = source.shape(of: stored), shape.rank == 2, rows == 0 || shape[1] == columns else {
        throw .format("\(source.label): \(name) needs matrices q, k and v, \(part) is missing or has another shape")
      }
      pieces.append(.stored(stored))
      rows = try Checked.sum(rows, shape[0], name)
      columns = shape[1]
    }
    return try CheckpointEntry(name, pieces, shape: [rows, columns], from: source)
  }

  /// At most 2^30, so that three times as much is still a number.
  private func extent(_ stored: String?, axis: Int) -> Int? {
    guard let stored, let shape = source.shape(of: stored), shape.rank > axis, shape[axis] <= 1 << 30 else { return nil }
    return shape[axis]
  }

  // MARK: HuggingFace

  func huggingFace() throws(MedDINOError) -> [CheckpointEntry] {
    let gated = names.contains { $0.clean.hasSuffix(".mlp.gate_proj.weight") }
    var entries: [CheckpointEntry] = []
    var attentions: [Int: Attention] = [:]
    for name in names {
      if let root = Self.huggingFaceRoots[name.clean] {
        entries.append(try root == "mask_token" ? maskToken(name) : CheckpointEntry(root, [.stored(name.stored)], from: source))
      } else if let (index, rest) = split(name.clean, "layer.") {
        if let (part, isBias) = Self.projection(rest) {
          if isBias {
            attentions[index, default: .init()].biases[part] = name.stored
          } else {
            attentions[index, default: .init()].weights[part] = name.stored
          }
        } else {
          entries.append(try block(index, Self.huggingFaceRest(rest, gated: gated), name))
        }
      } else {
        entries.append(try CheckpointEntry(name.clean, [.stored(name.stored)], from: source))
      }
    }
    let weights = attentions.compactMapValues { $0.weights["q"] }
    return entries + (try fused("layer.", attentions) { extent(weights[$0], axis: 0) })
  }

  private func block(_ index: Int, _ rest: String, _ name: Name) throws(MedDINOError) -> CheckpointEntry {
    try CheckpointEntry("blocks.\(index).\(rest)", [.stored(name.stored)], from: source)
  }

  /// [1, 1, D] there, [1, D] here.
  private func maskToken(_ name: Name) throws(MedDINOError) -> CheckpointEntry {
    let shape = source.shape(of: name.stored)
    let flat: Shape? = shape.flatMap { $0.rank == 3 && $0[0] == 1 ? [$0[1], $0[2]] : nil }
    return try CheckpointEntry("mask_token", [.stored(name.stored)], shape: flat, from: source)
  }

  private static let huggingFaceRoots = [
    "embeddings.cls_token": "cls_token", "embeddings.mask_token": "mask_token", "embeddings.register_tokens": "storage_tokens",
    "embeddings.patch_embeddings.weight": "patch_embed.proj.weight", "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
  ]

  private static func projection(_ rest: String) -> (part: String, isBias: Bool)? {
    for part in ["q", "k", "v"] {
      if rest == "attention.\(part)_proj.weight" { return (part, false) }
      if rest == "attention.\(part)_proj.bias" { return (part, true) }
    }
    return nil
  }

  private static func huggingFaceRest(_ rest: String, gated: Bool) -> String {
    let table = [
      "attention.o_proj.": "attn.proj.", "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
      "mlp.gate_proj.": "mlp.w1.", "mlp.up_proj.": gated ? "mlp.w2." : "mlp.fc1.", "mlp.down_proj.": gated ? "mlp.w3." : "mlp.fc2.",
    ]
    return renamed(rest, table)
  }

  private static func renamed(_ rest: String, _ table: [String: String]) -> String {
    for (old, new) in table where rest.hasPrefix(old) { return new + rest.dropFirst(old.count) }
    return rest
  }

  // MARK: timm

  func timm() throws(MedDINOError) -> [CheckpointEntry] {
    let gated = names.contains { $0.clean.hasSuffix(".mlp.fc1_g.weight") }
    var entries: [CheckpointEntry] = []
    var attentions: [Int: Attention] = [:]
    var weights: [Int: String] = [:]
    for name in names {
      guard let (index, rest) = split(name.clean, "blocks.") else {
        let official = name.clean == "reg_token" ? "storage_tokens" : name.clean
        entries.append(try CheckpointEntry(official, [.stored(name.stored)], from: source))
        continue
      }
      if rest == "attn.qkv.weight" { weights[index] = name.stored }
      switch rest {
      case "attn.q_bias": attentions[index, default: .init()].biases["q"] = name.stored
      case "attn.v_bias": attentions[index, default: .init()].biases["v"] = name.stored
      default: entries.append(try block(index, Self.timmRest(rest, gated: gated), name))
      }
    }
    if !names.contains(where: { $0.clean == "mask_token" }), let dim = extent(names.first { $0.clean == "cls_token" }?.stored, axis: 2) {
      entries.append(try CheckpointEntry("mask_token", [.zeros(dim)], shape: [1, dim], from: source))
    }
    return entries + (try fused("blocks.", attentions) { extent(weights[$0], axis: 1) })
  }

  private static func timmRest(_ rest: String, gated: Bool) -> String {
    var table = ["gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma", "mlp.fc1_g.": "mlp.w1.", "mlp.fc1_x.": "mlp.w2."]
    if gated { table["mlp.fc2."] = "mlp.w3." }
    return renamed(rest, table)
  }
}
