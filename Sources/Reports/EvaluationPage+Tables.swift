internal import Imaging

extension EvaluationPage {
  private func mean(_ values: [Double]) -> Double {
    let present = values.filter { !$0.isNaN }
    return present.isEmpty ? .nan : present.reduce(0, +) / Double(present.count)
  }

  /// The figures that are looked at first.
  var tiles: String {
    var list: [(value: String, name: String)] = [
      ("\(cases.count)", cases.count == 1 ? "case" : "cases"), ("\(structures.count)", structures.count == 1 ? "structure" : "structures"),
      (HTMLText.number(mean(structures.map(\.dice.mean)), 3), "mean Dice over structures"),
    ]
    if hasSurfaces {
      list.append((HTMLText.number(mean(structures.map(\.surfaceDice.mean)), 3), "mean NSD at \(millimetres)"))
      list.append((HTMLText.number(mean(structures.map(\.hausdorff95.mean)), 2) + " mm", "mean HD95"))
    }
    return HTMLText.tiles(list)
  }

  private var millimetres: String {
    tolerance == tolerance.rounded() ? HTMLText.number(tolerance, 0) + " mm" : HTMLText.number(tolerance, 2) + " mm"
  }

  var structureTable: String {
    var heads = ["Structure", "Label", "Dice", "n", "Dice, where<br>in reference", "n", "IoU"]
    if hasSurfaces { heads += ["NSD<br>(\(millimetres))", "HD95<br>(mm)", "n"] }
    var rows = ""
    for structure in structures {
      let head = HTMLText.swatch(structure.colour) + HTMLText.escaped(structure.name)
      var cells = [cell(structure.dice, 3), "\(structure.dice.count)"]
      cells += [cell(structure.diceWhereReferenced, 3), "\(structure.diceWhereReferenced.count)", cell(structure.iou, 3)]
      if hasSurfaces { cells += [cell(structure.surfaceDice, 3), cell(structure.hausdorff95, 2), "\(structure.hausdorff95.count)"] }
      let rest = cells.map { "<td>\($0)</td>" }.joined()
      rows += HTMLText.row(head, "<td class=\"key\">\(HTMLText.escaped(structure.key))</td>\(rest)")
    }
    return "<section><h2>Structures</h2>\n" + HTMLText.table(heads: heads, rows: rows + totalRow)
      + "<p class=\"note\">\(structureNote)</p></section>\n"
  }

  private var totalRow: String {
    if structures.count < 2 { return "" }
    func total(_ value: (Structure) -> Summary, _ digits: Int) -> String {
      HTMLText.number(mean(structures.map { value($0).mean }), digits)
    }
    var cells = [total(\.dice, 3), "", total(\.diceWhereReferenced, 3), "", total(\.iou, 3)]
    if hasSurfaces { cells += [total(\.surfaceDice, 3), total(\.hausdorff95, 2), ""] }
    return HTMLText.row("Mean over structures", "<td></td>" + cells.map { "<td>\($0)</td>" }.joined(), kind: "total")
  }

  private var structureNote: String {
    var text =
      "Mean ± standard deviation over cases; n is how many cases count. Dice and IoU follow nnU-Net: a case counts when prediction or "
      + "reference holds the structure. “Where in reference” follows MedDINOv3: only cases whose reference holds it."
    if hasSurfaces {
      text += " NSD counts the same cases, a structure that was missed as 0; HD95 needs it in both."
    }
    return text + " The last row leaves out structures without a value."
  }

  private func cell(_ summary: Summary, _ digits: Int) -> String {
    let deviation = summary.deviation.isNaN ? "" : " <small>± \(HTMLText.number(summary.deviation, digits))</small>"
    return HTMLText.number(summary.mean, digits) + deviation
  }

  /// One row per case with a bar per structure, worst first.
  var caseTable: String {
    let heads = ["Case", "Mean Dice"] + structures.map { HTMLText.breakable($0.name) }
    var rows = ""
    for index in worstFirst {
      let row = cases[index]
      let bars = zip(structures, row.dice).map { bar($1, HTMLText.hex($0.colour)) }.joined()
      rows += HTMLText.row(HTMLText.escaped(row.name), bar(row.meanDice, "var(--bar)") + bars)
    }
    let note = "Lowest mean first. – : neither prediction nor reference holds it."
    return "<section><h2>Dice of every case</h2>\n<p class=\"note\">\(note)</p>\n"
      + HTMLText.table(heads: heads, rows: rows, kind: "cases") + "</section>\n"
  }

  private func bar(_ value: Double, _ colour: String) -> String {
    if value.isNaN { return "<td>–</td>" }
    let text = HTMLText.number(value, 3)
    let width = HTMLText.number(min(max(value, 0), 1) * 100, 1)
    let label = value < 0.5 ? "<span class=\"low\">\(text)</span>" : text
    return "<td>\(label)<div><span style=\"width:\(width)%;background:\(colour)\"></span></div></td>"
  }

  var pictureSection: String {
    "<section><h2>Worst cases</h2>\n<p class=\"note\">The slice where prediction and reference differ most: reference, prediction, "
      + "and their difference. Seen from below: the patient’s right is on the left.</p>\n"
      + HTMLText.legend("Labels", legend) + HTMLText.legend("Difference", ComparisonPicture.marks)
      + pictures.map(HTMLText.figure).joined() + "</section>\n"
  }

  var warningSection: String {
    let lines = cases.flatMap { row in row.warnings.map { row.name + ": " + $0 } }
    return lines.isEmpty ? "" : "<section><h2>Warnings</h2>\n" + HTMLText.list(lines) + "</section>\n"
  }
}
