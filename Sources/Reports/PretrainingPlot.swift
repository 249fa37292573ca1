public import Platform

/// The plots of a pretraining run: losses, entropy of the teacher, health of its features, Dice of probes, rates.
public struct PretrainingPlot: Sendable {
  /// Values over the iteration by the names of `metrics.jsonl`.
  public var series: [String: [(x: Double, y: Double)]]
  public init(_ series: [String: [(x: Double, y: Double)]]) { self.series = series }

  private func plot(_ title: String, _ names: [(key: String, name: String)]) -> LinePlot? {
    let curves = names.enumerated().compactMap { index, entry in
      series[entry.key].map { LinePlot.Curve(entry.name, $0, LinePlot.palette[index % LinePlot.palette.count]) }
    }
    return curves.isEmpty ? nil : LinePlot(title: title, xLabel: "iteration", curves: curves)
  }

  /// Those that have values.
  public var plots: [LinePlot] {
    var probe = plot("Dice of frozen features", [("probe_knn_dice", "k-NN"), ("probe_linear_dice", "linear")])
    probe?.yLimits = 0...1
    return [
      plot(
        "Loss",
        [
          ("total_loss", "total"), ("dino_global_crops_loss", "DINO global"), ("dino_local_crops_loss", "DINO local"),
          ("ibot_loss", "iBOT"),
        ]),
      plot("KoLeo and Gram", [("koleo_loss", "KoLeo"), ("gram_loss", "Gram")]),
      plot("Entropy of the teacher (nats)", [("teacher_entropy", "class"), ("teacher_patch_entropy", "patches")]),
      plot("Effective rank", [("class_rank", "class"), ("patch_rank", "patches")]),
      plot(
        "Cosine of patches",
        [
          ("patch_cosine", "all pairs"), ("patch_neighbour_cosine", "neighbours"), ("class_patch_cosine", "class"),
          ("gram_patch_cosine", "Gram teacher"),
        ]),
      probe, plot("Learning rate", [("lr", "backbone"), ("last_layer_lr", "last layer")]),
      plot("Seconds per iteration", [("seconds", "")]),
    ].compactMap { $0 }
  }

  /// Writes nothing where there are no values. Throws: `.outOfMemory`, `.io`.
  public func write(title: String, subtitle: String = "", to path: String, in budget: MemoryBudget) throws(MedDINOError) {
    guard !plots.isEmpty else { return }
    try PlotSheet.write(plots, title: title, subtitle: subtitle, to: path, in: budget)
  }
}
