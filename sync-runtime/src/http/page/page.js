'use strict';
(() => {
  const id = (name) => document.getElementById(name);
  const make = (tag, cls, text) => {
    const el = document.createElement(tag);
    if (cls) el.className = cls;
    if (text !== undefined) el.textContent = text;
    return el;
  };
  const number = new Intl.NumberFormat('en');
  const bytes = (n) => {
    const units = ['B', 'kB', 'MB', 'GB', 'TB'];
    let at = 0;
    while (n >= 1000 && at < 4) { n /= 1000; at += 1; }
    return (at === 0 ? n : n.toFixed(n < 10 ? 1 : 0)) + ' ' + units[at];
  };
  const span = (s) => {
    if (s < 1) return Math.round(s * 1000) + ' ms';
    if (s < 60) return Math.floor(s) + ' s';
    if (s < 3600) return Math.floor(s / 60) + ' min';
    if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
    return Math.floor(s / 86400) + ' d ' + Math.floor(s % 86400 / 3600) + ' h';
  };
  const clock = (ms) => new Date(ms).toTimeString().slice(0, 8);
  const short = (url) => url.replace(/^wss:\/\//, '').replace(/\/$/, '');
  const CONNECTION = {
    disconnected: ['✗', 'disconnected', 'bad', 0], connecting: ['◐', 'connecting', 'work', 1],
    syncing: ['◐', 'syncing', 'work', 2], connected: ['●', 'connected', 'good', 3],
    connected_degraded: ['!', 'connected, partial history', 'warn', 4],
  };
  const HEALTH = {
    healthy: ['healthy', 'good', 4], disconnected: ['disconnected', 'soft', 1],
    degraded: ['degraded', 'warn', 2], dead: ['dead', 'bad', 0],
    rate_limited: ['rate limited', 'warn', 3],
  };
  const PHASE = { live: 'good', syncing: 'work', starting: 'work', partial: 'warn', offline: 'bad' };

  const state = {
    relays: new Map(), shown: new Map(), open: new Map(), sort: null, down: false, filter: '',
    heard: Date.now(), started: 0, ended: false, history: [], dirty: false, stream: null,
  };
  const connection = (r) => CONNECTION[r.connection] || ['?', r.connection, 'soft', 9];
  const health = (r) => HEALTH[r.health] || [r.health, 'soft', 9];

  const KEYS = {
    url: (r) => r.url, connection: (r) => connection(r)[3], health: (r) => health(r)[2],
    stored: (r) => r.events.stored, in: (r) => r.bytes_in, out: (r) => r.bytes_out,
    lag: (r) => r.lag_s ?? -1, rtt: (r) => r.rtt_s ?? -1, seen: (r) => r.last_seen_ms ?? 0,
  };
  // Trouble first, then by name: rows do not jump while numbers grow.
  const usual = (r) => ({ bad: 0, warn: 1, work: 2, good: 3 })[connection(r)[2]] ?? 4;
  const order = (a, b) => {
    if (!state.sort) return usual(a) - usual(b) || (a.url < b.url ? -1 : 1);
    const [x, y] = [KEYS[state.sort](a), KEYS[state.sort](b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (state.down ? -1 : 1) || (a.url < b.url ? -1 : 1);
  };

  const COLUMNS = 10;
  const row = (r) => {
    const tr = make('tr');
    const head = make('th');
    head.scope = 'row';
    const button = make('button', '', short(r.url));
    button.type = 'button';
    button.title = r.url;
    button.setAttribute('aria-expanded', 'false');
    button.addEventListener('click', () => toggle(r.url));
    head.append(button);
    tr.append(head);
    for (let n = 1; n < COLUMNS; n += 1) tr.append(make('td', n > 2 && n < 9 ? 'n' : n === 9 ? 'note' : ''));
    return tr;
  };
  const set = (cell, text, cls) => {
    if (cell.textContent !== text) cell.textContent = text;
    if (cls !== undefined && cell.className !== cls) cell.className = cls;
  };
  const note = (r) => {
    if (r.retry_at) {
      const left = Math.max(0, (r.retry_at - Date.now()) / 1000);
      return 'retry in ' + span(left) + (r.note ? ' · ' + r.note : '');
    }
    return r.note;
  };
  const fill = (tr, r) => {
    const cells = tr.children;
    const [glyph, words, tone] = connection(r);
    if (r.connection === 'syncing' && r.pass && r.pass.batches > 0) {
      let bar = cells[1].querySelector('progress');
      if (!bar) {
        set(cells[1], glyph + ' syncing ', tone);
        bar = make('progress');
        bar.setAttribute('aria-label', 'batches');
        cells[1].append(bar);
      }
      bar.max = r.pass.batches;
      bar.value = r.pass.batches_done;
    } else {
      set(cells[1], glyph + ' ' + words, tone);
    }
    set(cells[2], health(r)[0], health(r)[1]);
    set(cells[3], number.format(r.events.stored));
    set(cells[4], bytes(r.bytes_in));
    set(cells[5], bytes(r.bytes_out));
    set(cells[6], r.lag_s == null ? '–' : span(r.lag_s));
    set(cells[7], r.rtt_s == null ? '–' : span(r.rtt_s));
    set(cells[8], r.last_seen_ms == null ? 'never'
      : span(Math.max(1, (Date.now() - r.last_seen_ms) / 1000)) + ' ago');
    set(cells[9], note(r));
  };
  const draw = () => {
    state.dirty = false;
    const body = id('relays');
    const wanted = [...state.relays.values()].filter((r) => r.url.includes(state.filter)).sort(order);
    const rows = [];
    for (const r of wanted) {
      let tr = state.shown.get(r.url);
      if (!tr) { tr = row(r); state.shown.set(r.url, tr); }
      fill(tr, r);
      rows.push(tr);
      const detail = state.open.get(r.url);
      if (detail) rows.push(detail);
    }
    const same = rows.length === body.children.length && rows.every((tr, at) => tr === body.children[at]);
    if (!same) {
      const focused = document.activeElement;
      body.replaceChildren(...rows);
      if (focused && body.contains(focused)) focused.focus();
    }
    id('none').hidden = state.relays.size > 0;
    let gaps = 0, partial = 0;
    for (const r of state.relays.values()) { gaps += r.gap_count; partial += r.gap_count > 0 ? 1 : 0; }
    id('t-gaps').textContent = number.format(gaps);
    id('t-gaps').className = gaps > 0 ? 'warn' : '';
    id('t-gaps-text').textContent = gaps === 0 ? 'nothing is missing' : 'gaps on ' + partial + (partial === 1 ? ' relay' : ' relays');
    if (state.started) id('uptime').textContent = span((Date.now() - state.started) / 1000);
  };
  const soon = () => {
    if (state.dirty) return;
    state.dirty = true;
    requestAnimationFrame(draw);
  };

  const section = (title, lines) => {
    const part = make('div');
    part.append(make('h3', '', title));
    const list = make('ul');
    for (const line of lines) list.append(make('li', '', line));
    part.append(list);
    return part;
  };
  const read = async (path) => {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error('the daemon answered ' + answer.status);
    return (await answer.json()).data;
  };
  const toggle = async (url) => {
    const button = state.shown.get(url).querySelector('button');
    if (state.open.delete(url)) { button.setAttribute('aria-expanded', 'false'); return soon(); }
    const tr = make('tr', 'detail');
    const cell = make('td', '', 'reading …');
    cell.colSpan = COLUMNS;
    tr.append(cell);
    state.open.set(url, tr);
    button.setAttribute('aria-expanded', 'true');
    soon();
    const name = encodeURIComponent(url);
    try {
      const [r, why] = await Promise.all([read('/v1/relays/' + name), read('/v1/explain/' + name)]);
      const parts = make('div', 'columns');
      const lines = [why.summary, ...why.because, why.effect, why.next, why.health].filter((s) => s);
      parts.append(section('Why', lines));
      const total = Object.values(r.time_in_state_s).reduce((a, b) => a + b, 0) || 1;
      parts.append(section('Time in state', Object.entries(r.time_in_state_s).filter(([, s]) => s > 0)
        .map(([name, s]) => name.replace('_', ' ') + '  ' + span(s) + '  (' + Math.round(100 * s / total) + ' %)')));
      parts.append(section('Changes', r.transitions.slice(-8).reverse().map((e) => clock(e.at_ms) + '  ' + words(e))));
      if (r.errors.length) parts.append(section('Errors', r.errors.slice(-6).reverse().map((e) => clock(e.at_ms) + '  ' + words(e))));
      if (r.gaps.length) parts.append(section('Missing', r.gaps.slice(0, 8).map((g) =>
        g.reason.replaceAll('_', ' ') + ', ' + g.items + ' items' + (g.detail ? ': ' + g.detail : ''))));
      cell.replaceChildren(parts);
    } catch (error) {
      cell.textContent = error.message;
    }
  };

  const plain = (text) => String(text).replaceAll('_', ' ');
  const words = (e) => {
    switch (e.type) {
      case 'transition': case 'health': case 'phase':
        return (e.type === 'phase' ? 'all: ' : '') + plain(e.from) + ' → ' + plain(e.to) + ' (' + plain(e.reason) + ')';
      case 'session':
        return e.result ? plain(e.trigger) + ' sync: ' + plain(e.result) + ' after ' + span(e.took_s ?? 0) : plain(e.trigger) + ' sync began';
      case 'gap':
        return e.open ? 'missing: ' + plain(e.reason) + (e.detail ? ': ' + e.detail : '') : 'gap ' + e.row + ' closed';
      case 'error': return e.code + ' ' + e.message + (e.count > 1 ? ' (' + e.count + ' times)' : '');
      case 'alert': return e.name + (e.firing ? ' fires: ' : ' ended: ') + e.summary;
      case 'tracked': return 'relay is known';
      case 'forgotten': return 'relay is forgotten';
      case 'boot': return 'ngit-sync ' + e.version + ' began';
      default: return e.message ?? plain(e.type);
    }
  };
  const tone = (e) => e.type === 'error' ? 'bad' : (e.type === 'gap' && e.open) || (e.type === 'alert' && e.firing) ? 'warn' : '';
  const feed = (e) => {
    const item = make('li');
    const time = make('time', '', clock(e.at_ms));
    time.dateTime = new Date(e.at_ms).toISOString();
    item.append(time);
    if (e.relay) item.append(make('span', 'who', short(e.relay)));
    item.append(make('span', tone(e), words(e)));
    const list = id('feed');
    list.prepend(item);
    while (list.children.length > 50) list.lastChild.remove();
  };

  const take = (r) => {
    r.retry_at = r.retry_in_s == null ? null : Date.now() + r.retry_in_s * 1000;
    state.relays.set(r.url, r);
  };
  const totals = (c) => {
    const phase = id('phase');
    if (phase.textContent !== c.phase) phase.textContent = c.phase;
    phase.className = 'phase ' + (PHASE[c.phase] || '');
    const n = c.counts;
    id('t-relays').textContent = n.connected + ' / ' + n.tracked;
    const parts = [[n.live, 'live'], [n.syncing, 'syncing'], [n.partial, 'partial'], [n.connecting, 'connecting'], [n.dead, 'dead']];
    id('t-relays-text').textContent = 'relays connected' + parts.filter(([k]) => k > 0).map(([k, t]) => ' · ' + k + ' ' + t).join('');
    id('t-synced').textContent = number.format(c.events_synced);
    const now = Date.now();
    state.history = state.history.filter(([at]) => now - at < 65000);
    state.history.push([now, c.events_synced]);
    const [at, before] = state.history[0];
    if (now - at > 5000) {
      id('t-rate').textContent = number.format(Math.round((c.events_synced - before) * 60000 / (now - at))) + ' a minute';
    }
  };
  const heard = () => {
    state.heard = Date.now();
    id('stale').hidden = true;
    id('link').textContent = '● live';
    id('link').className = 'good';
  };
  const lost = (text) => {
    id('stale').textContent = text;
    id('stale').hidden = false;
    id('link').textContent = '! stale';
    id('link').className = 'warn';
  };

  const ENTRIES = ['transition', 'health', 'phase', 'session', 'gap', 'error', 'alert', 'notice', 'tracked', 'forgotten', 'boot'];
  const open = () => {
    if (state.stream) return;
    const stream = new EventSource('/v1/stream?types=snapshot,counters,' + ENTRIES.join(','));
    state.stream = stream;
    const on = (kind, act) => stream.addEventListener(kind, (event) => { heard(); act(JSON.parse(event.data)); soon(); });
    on('hello', (h) => { id('version').textContent = h.daemon.version; state.started = h.daemon.started_ms; });
    on('snapshot', (s) => {
      state.relays.clear();
      s.relays.forEach(take);
      totals(s);
      id('t-stored').textContent = number.format(s.store.events);
      id('t-queue').textContent = number.format(s.queues.reduce((n, q) => n + q.depth, 0));
      id('t-repos').textContent = number.format(s.repos);
      id('t-roots').textContent = 'repositories · ' + number.format(s.roots) + ' roots';
    });
    on('counters', (c) => {
      c.relays.forEach(take);
      for (const url of c.gone) { state.relays.delete(url); state.shown.delete(url); state.open.delete(url); }
      totals(c);
      id('t-stored').textContent = number.format(c.store_events);
      id('t-queue').textContent = number.format(c.queued);
    });
    on('reset', () => { id('feed').replaceChildren(); });
    on('dropped', () => {});
    for (const kind of ENTRIES) on(kind, feed);
    stream.addEventListener('bye', () => lost('The daemon is stopping.'));
    stream.addEventListener('error', () => lost('The connection to the daemon was lost; trying again.'));
  };
  const close = () => { if (state.stream) { state.stream.close(); state.stream = null; } };

  for (const th of document.querySelectorAll('th[data-sort]')) {
    const button = make('button', '', th.textContent);
    button.type = 'button';
    th.replaceChildren(button);
    button.addEventListener('click', () => {
      const key = th.dataset.sort;
      state.down = state.sort === key ? !state.down : key !== 'url';
      state.sort = key;
      for (const other of document.querySelectorAll('th[aria-sort]')) other.removeAttribute('aria-sort');
      th.setAttribute('aria-sort', state.down ? 'descending' : 'ascending');
      soon();
    });
  }
  id('filter').hidden = false;
  id('filter').addEventListener('input', (event) => { state.filter = event.target.value.trim().toLowerCase(); soon(); });
  // A hidden tab holds none of the few connections that a browser allows.
  document.addEventListener('visibilitychange', () => { if (document.hidden) close(); else open(); });
  setInterval(() => {
    if (state.stream && Date.now() - state.heard > 45000) lost('Nothing was heard from the daemon for ' + span((Date.now() - state.heard) / 1000) + '.');
    if (state.stream) soon();
  }, 1000);
  open();
})();
