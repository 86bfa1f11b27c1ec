// Shows what Pagefind finds in the index that was built with these pages. Without a script the box is not
// there: the sidebar is.
const box = document.querySelector('search')
const field = box.querySelector('input')
const list = box.querySelector('ol')
const resultsMax = 8
let pagefind

box.hidden = false
field.addEventListener('focus', () => void load(), { once: true })
field.addEventListener('input', () => void show())
field.addEventListener('keydown', ({ key }) => {
  if (key !== 'Escape') return
  field.value = ''
  list.replaceChildren()
})

function load() {
  pagefind ??= import(new URL('pagefind/pagefind.js', import.meta.url))
  return pagefind
}

async function show() {
  const words = field.value
  const { debouncedSearch } = await load()
  const found = await debouncedSearch(words, {}, 150)
  // Null: somebody typed on.
  if (found === null) return
  const results = await Promise.all(found.results.slice(0, resultsMax).map((one) => one.data()))
  if (field.value !== words) return
  list.replaceChildren(...results.map(line))
  if (results.length === 0 && words.trim() !== '') list.append(said('Nothing found.'))
}

function line({ url, meta, sub_results: parts, excerpt }) {
  const link = document.createElement('a')
  const [part] = parts
  link.href = part?.url ?? url
  link.textContent = meta.title
  const words = document.createElement('p')
  // Pagefind escapes what it takes from a page and adds only <mark>.
  words.innerHTML = part?.excerpt ?? excerpt
  const item = document.createElement('li')
  item.append(link, words)
  return item
}

function said(text) {
  const item = document.createElement('li')
  item.textContent = text
  return item
}
