--[[ Numbers and cross-references of the preview book, as Quarto's HTML books have them.

It runs twice over each page. First pass (metadata `chapter`, 0 where the chapter is unnumbered): callouts, tabsets,
numbered sections, figures and tables; it leaves in the metadata, as JSON in `found`, `labels` (label -> kind, number,
caption), `cited` (bibliography keys), `files` (local images and downloads), `references` (whether the list of
references stands here) and `pagetitle`. Second pass (metadata `book`, JSON with `targets`, the labels of the whole
book, `keys` and `bibpage`): references to them, and citations.
]]

local kinds = { fig = "Figure", tbl = "Table" }
local nbsp = "\u{a0}"
local labels, cited, files = {}, {}, {}
local section, count = { 0, 0, 0, 0, 0, 0 }, { fig = 0, tbl = 0 }
local chapter, pagetitle

local function kind_of(id) return id:match("^(%a+)%-.") end

local function html(text) return pandoc.RawBlock("html", text) end

local function is_relative(path) return path ~= "" and not path:match("^%a[%w+.-]*:") and not path:match("^[/#]") end

-- First pass -----------------------------------------------------------------------------------------------------

-- A heading at the start of a callout is its title, not a section.
local function callout(div)
  local name = div.classes[1] and div.classes[1]:match("^callout%-(%a+)$")
  if not name then return nil end
  local title = div.attributes.title
  local inlines = title and pandoc.Inlines(title) or pandoc.Inlines(name:sub(1, 1):upper() .. name:sub(2))
  local first = div.content[1]
  if not title and first and first.t == "Header" then
    inlines = first.content
    div.content:remove(1)
  end
  div.content:insert(1, pandoc.Div(pandoc.Plain(inlines), { class = "callout-title" }))
  return pandoc.Div(div.content, pandoc.Attr(div.identifier, { "callout", "callout-" .. name }))
end

-- Tabs come one after the other: their headings are titles, not sections.
local function tabset(div)
  if not div.classes:includes("panel-tabset") then return nil end
  local level = div.content[1] and div.content[1].t == "Header" and div.content[1].level
  div.content = div.content:map(function(block)
    if block.t ~= "Header" or block.level ~= level then return block end
    return pandoc.Div(pandoc.Plain(block.content), { class = "tab-title" })
  end)
  return div
end

local function header(el)
  if el.level == 1 and not pagetitle then pagetitle = pandoc.utils.stringify(el.content) end
  if el.classes:includes("unnumbered") then
    if el.level > 1 or chapter == 0 then return nil end
    el.classes = {} -- the title of a notebook: Quarto numbers it in any case
  end
  section[el.level] = el.level == 1 and chapter or section[el.level] + 1
  for level = el.level + 1, 6 do section[level] = 0 end
  local number = table.concat(section, ".", 1, el.level):gsub("^0%.", "")
  local caption = pandoc.utils.stringify(el.content)
  local is_chapter = el.level == 1
  if kind_of(el.identifier) == "sec" then
    local shown = is_chapter and number .. nbsp .. " " .. caption or caption
    labels[el.identifier] = { kind = "sec", number = number, caption = shown, chapter = is_chapter }
  end
  if chapter > 0 then
    el.content:insert(1, pandoc.Span(number .. nbsp .. " ", { class = "number" }))
  end
  return el
end

-- A numbered figure or table, the caption on the side where Quarto has it.
local function float(id, caption, content)
  local kind = kind_of(id)
  count[kind] = count[kind] + 1
  local number = (chapter > 0 and chapter .. "." or "") .. count[kind]
  labels[id] = { kind = kind, number = number, caption = "", chapter = false }
  local text = pandoc.Inlines(kinds[kind] .. nbsp .. number)
  if #caption > 0 then text:extend({ pandoc.Str(":"), pandoc.Space() }) end
  text:extend(caption)
  local head = { html("<figcaption>"), pandoc.Plain(text), html("</figcaption>") }
  local body = { pandoc.Div(content, { class = "scroll" }) }
  local blocks = pandoc.Blocks({ html(('<figure id="%s" class="%s">'):format(id, kind)) })
  blocks:extend(kind == "tbl" and head or body)
  blocks:extend(kind == "tbl" and body or head)
  blocks:insert(html("</figure>"))
  return blocks, false
end

-- Widths taken from the dashes of a pipe table squeeze it on a narrow screen; without them it scrolls in its box.
local function natural_width(el)
  el.colspecs = el.colspecs:map(function(spec) return { spec[1], nil } end)
  return el
end

local function figure(el)
  if not kinds[kind_of(el.identifier)] then return nil end
  return float(el.identifier, pandoc.utils.blocks_to_inlines(el.caption.long), el.content)
end

local function table_(el)
  el = natural_width(el)
  local id, caption = el.identifier, pandoc.utils.blocks_to_inlines(el.caption.long)
  local last = caption[#caption]
  if id == "" and last and last.t == "Str" then -- a Pandoc before 3.7 leaves the label in the caption
    id = last.text:match("^{#(tbl%-[^}]+)}$") or ""
    if id ~= "" then caption:remove() end
  end
  if not kinds[kind_of(id)] then return pandoc.Div(el, { class = "scroll" }), false end
  while #caption > 0 and caption[#caption].t == "Space" do caption:remove() end
  el.identifier, el.caption = "", pandoc.Caption()
  return float(id, caption, { el })
end

-- `::: {#fig-x}` or `::: {#tbl-x}`: the last paragraph is the caption.
local function div(el)
  if not kinds[kind_of(el.identifier)] then return nil end
  local content = el.content:walk({ Table = natural_width })
  local caption, last = pandoc.Inlines({}), content[#content]
  if #content > 1 and (last.t == "Para" or last.t == "Plain") then
    caption = last.content
    content:remove()
  end
  return float(el.identifier, caption, content)
end

local function image(el)
  if is_relative(el.src) then files[el.src] = true end
  if el.attributes["fig-alt"] then
    el.caption, el.attributes["fig-alt"] = pandoc.Inlines(el.attributes["fig-alt"]), nil
  end
  return el
end

local function link(el)
  local path, fragment = el.target:match("^([^#]*)(.*)$")
  if not is_relative(path) then return nil end
  local page, n = path:gsub("%.qmd$", ".html")
  if n == 0 then page, n = path:gsub("%.ipynb$", ".html") end
  if n == 0 then files[path] = true end
  el.target = page .. fragment
  return el
end

local function cite(el)
  for _, citation in ipairs(el.citations) do
    local kind = kind_of(citation.id)
    if not kinds[kind and kind:lower()] and kind ~= "sec" and kind ~= "Sec" then cited[citation.id] = true end
  end
end

local function keys(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  table.sort(list)
  return list
end

local function number(doc)
  chapter = tonumber(pandoc.utils.stringify(doc.meta.chapter))
  local references = false
  doc = doc:walk({
    Div = function(el)
      if el.identifier == "refs" then references = true end
      return callout(el) or tabset(el)
    end,
  })
  doc = doc:walk({ traverse = "topdown", Header = header, Figure = figure, Table = table_, Div = div })
  doc = doc:walk({ Image = image, Link = link, Cite = cite })
  doc.meta.found = pandoc.json.encode({
    labels = labels, cited = keys(cited), files = keys(files), references = references, pagetitle = pagetitle or "",
  })
  return doc
end

-- Second pass ----------------------------------------------------------------------------------------------------

local function reference(citation, target)
  -- On a page without numbers, Quarto names a section by its title.
  local titled = target.kind == "sec" and chapter == 0
  local text = titled and target.caption or target.number
  if #citation.prefix > 0 then
    text = pandoc.utils.stringify(citation.prefix) .. nbsp .. text
  elseif target.kind ~= "sec" and citation.mode ~= "SuppressAuthor" then
    text = kinds[target.kind] .. nbsp .. text
  elseif not titled and citation.mode ~= "SuppressAuthor" then
    text = (target.chapter and "Chapter " or "Section ") .. text
  end
  return pandoc.Link(pandoc.Inlines({ pandoc.Str(text) }), target.href, "", { class = "xref" })
end

local function references(targets)
  return function(el)
    local refs = pandoc.Inlines({})
    for _, citation in ipairs(el.citations) do
      local id = citation.id:sub(1, 1):lower() .. citation.id:sub(2)
      local kind = kind_of(id)
      if kinds[kind] or kind == "sec" then
        if #refs > 0 then refs:extend({ pandoc.Str(","), pandoc.Space() }) end
        local target = targets[id]
        refs:insert(target and reference(citation, target) or pandoc.Strong("?@" .. id))
      end
    end
    return #refs > 0 and refs or nil
  end
end

-- Citations link to the references chapter (`bibpage`) where the book has one, to the page's own list otherwise.
local function citations(doc, book)
  local bibpage = book.bibpage
  if book.keys then
    local entries = pandoc.List(book.keys):map(function(key) return pandoc.Citation(key, "NormalCitation") end)
    doc.meta.nocite = pandoc.MetaInlines({ pandoc.Cite({}, entries) })
  end
  doc.meta["link-citations"] = true
  doc = pandoc.utils.citeproc(doc)
  return doc:walk({
    Link = function(el)
      if bibpage and el.target:match("^#ref%-") then
        el.target = bibpage .. el.target
        return el
      end
    end,
    Div = function(el)
      if el.identifier == "refs" and (bibpage or #el.content == 0) then return {} end
    end,
  })
end

local function resolve(doc)
  chapter = tonumber(pandoc.utils.stringify(doc.meta.chapter))
  local book = pandoc.json.decode(doc.meta.book, false)
  local targets = book.targets
  doc = doc:walk({
    Cite = references(targets),
    Link = function(el) -- a bare `#sec-x` may lie on another page
      local target = targets[el.target:sub(2)]
      if el.target:sub(1, 1) == "#" and target and not el.classes:includes("xref") then el.target = target.href end
      return el
    end,
  })
  return doc.meta.bibliography and citations(doc, book) or doc
end

function Pandoc(doc) return doc.meta.book and resolve(doc) or number(doc) end
