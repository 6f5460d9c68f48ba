"""Model files: what kind a file is, and whether a torch.export archive may be loaded at all.

`torch.export.load` executes what an archive holds, by design and by accident. In torch 2.13:

====================================================  ====================================================
what runs                                             where (under torch/)
====================================================  ====================================================
a pickle named by the weights or constants table      export/pt2_archive/_package.py:891, 949, 972, 978
legacy weights and constants, pickled whole           export/pt2_archive/_package.py:867, 923
sample inputs that fail the safe unpickler            _export/serde/serialize.py:441
a shared library under data/aotinductor               export/pt2_archive/_package.py:1068
the torch 2.7 layout, three pickles                   export/__init__.py:359
sizes, because sympy evaluates their text             _export/serde/serialize.py:2412
operator names, a chain of getattr                    _export/serde/serialize.py:2344, 3406
containers, whose modules are imported                utils/_pytree.py:971, 2018
names, which become Python source                     fx/graph.py:850, fx/graph_module.py:143
guards, which are Python source                       export/_unlift.py:213
====================================================  ====================================================

`scan` executes none of it: it reads the zip directory, checks every text against what torch.export.save
writes, and refuses whatever it does not know. Load the very bytes that were scanned (a private copy),
or the check proves nothing. Not covered: memory errors in torch's own operators, and an archive that
asks for more memory than there is.
"""
