internal import Imaging

extension SegmentationPage {
  var tiles: String {
    let count = allWarnings.count
    var list: [(value: String, name: String)] = [
      ("\(found.count) of \(structures.count)", structures.count == 1 ? "label found" : "labels found"),
      ("\(count)", count == 1 ? "warning" : "warnings"),
    ]
    if !duration.isEmpty { list.append((duration, "from opening the image to the label map")) }
    return HTMLText.tiles(list)
  }

  var warningSection: String {
    let lines = allWarnings
    let body = lines.isEmpty ? "<p>None.</p>\n" : HTMLText.list(lines)
    return "<section><h2>Warnings</h2>\n\(body)</section>\n"
  }

  var pictureSection: String {
    let legend = found.map { (name: $0.structure.name, colour: $0.structure.colour) }
    return
      "<section><h2>Pictures</h2>\n<p class=\"note\">Outlines and tints of the labels over the image. Axial slices are seen from below and "
      + "coronal ones from the front, so that the patient’s right (R) is on the left; sagittal ones have the front (A) on the left.</p>\n"
      + (legend.isEmpty ? "" : HTMLText.legend("Labels", legend))
      + "<div class=\"pictures\">\n\(pictures.map(HTMLText.figure).joined())</div></section>\n"
  }

  var structureTable: String {
    let heads = [
      "Label", "Value", "Volume<br>(mL)", "Voxels", "Extent (mm)<br>R–L × A–P × S–I", "Slices", "Parts", "Box of voxels<br>x, y, z",
      "Border<br>reached",
    ]
    let rows = structures.map { structure in
      let code = structure.code.isEmpty ? "" : "<br><small>\(HTMLText.escaped(structure.code))</small>"
      let head = HTMLText.swatch(structure.colour) + HTMLText.breakable(structure.name) + code
      let cells = structure.found.map(cells) ?? ["0", "0", "–", "0", "0", "–", "–"].map { "<td>\($0)</td>" }.joined()
      return HTMLText.row(head, "<td class=\"key\">\(structure.value)</td>" + cells, kind: structure.found == nil ? "absent" : "")
    }
    let note =
      "Volumes are voxels times the voxel size. Extents are those of the box around a label, along the axes of the image. Parts are pieces "
      + "that share no face, edge or corner. Boxes give the first and last voxel, counted from 0, along the axes of the file."
    return "<section><h2>Labels</h2>\n" + HTMLText.table(heads: heads, rows: rows.joined()) + "<p class=\"note\">\(note)</p></section>\n"
  }

  private func cells(_ label: LabelSurvey.Label) -> String {
    let extents = label.extents.map { HTMLText.number($0, $0 < 100 ? 1 : 0) }.joined(separator: " × ")
    let share = label.parts > 1 ? "<br><small>largest \(HTMLText.number(percent(label), 0)) %</small>" : ""
    let box = (0..<3).map { "\(label.box.lower[$0])–\(label.box.upper[$0] - 1)" }.joined(separator: ", ")
    let borders = label.borders.map(\.rawValue).joined(separator: ", ")
    return "<td>\(Self.volume(label.millilitres))</td><td>\(label.voxels)</td><td>\(extents)</td><td>\(label.slices)</td>"
      + "<td>\(label.parts)\(share)</td><td>\(box)</td>"
      + "<td class=\"wide\">\(borders.isEmpty ? "no" : "<span class=\"low\">\(borders)</span>")</td>"
  }

  /// Never a hundred for less than all. Units: percent.
  private func percent(_ label: LabelSurvey.Label) -> Double {
    let share = Double(label.largestPart) / Double(max(1, label.voxels))
    return share < 1 ? min(share * 100, 99) : 100
  }

  /// With digits that suit an organ as well as one voxel.
  static func volume(_ millilitres: Double) -> String {
    HTMLText.number(millilitres, millilitres < 0.1 ? 4 : millilitres < 10 ? 2 : millilitres < 1000 ? 1 : 0)
  }
}
