"""Short texts that a tiny model can learn from within seconds: our own lines, and quatrains of the Tang dynasty."""

ANIMALS_ZH = """小猫在树下睡觉。
小狗在河边喝水。
小鸟在树上唱歌。
小鱼在水里游。
小兔在草地上吃草。
小猫在河边看鱼。
小狗在门口等我。
小鸟从树上飞下来。
小兔从山上跑下来。
小鱼在河里等小猫。
今天天气很好，小猫出来玩。
今天下雨了，小狗在家里睡觉。
昨天下雪了，小鸟没有出来。
明天天气好，小兔要上山。
小猫看见小鸟，小鸟飞走了。
小狗看见小兔，小兔跑走了。
小猫问小鱼：水里冷不冷？
小鱼说：水里不冷，你下来吧。
小猫说：我不会游水，我在河边看你。
小狗问小鸟：树上好不好？
小鸟说：树上很好，你上来吧。
小狗说：我不会飞，我在树下等你。
小兔问小猫：山上冷不冷？
小猫说：山上很冷，你不要去。
今天天气很冷，小兔在家里吃草。
今天天气不好，小猫没有出来玩。
昨天天气很好，小狗上山了。
昨天下雨了，小鱼在水里玩。
明天下雪，小鸟要在家里睡觉。
小猫在家里等小狗。
小狗在山上看雪。
小鸟在门口吃米。
小兔在树下等小鸟。
小鱼看见小鸟，小鸟在喝水。
小狗看见小猫，小猫在睡觉。
小猫看见小狗，小狗跑过来了。
小兔问小狗：你会不会游水？
小狗说：我会，我天天在河里游。
小兔说：我不会，我在草地上等你。
小鸟问小鱼：你会不会飞？
小鱼说：我不会飞，我会游水。
小鸟说：我会飞，我不会游水。
今天天气很好，小猫和小狗上山玩。
昨天下雨了，小猫和小兔在家里睡觉。
明天天气好，小狗要和小鸟出来玩。
小猫在门口看雪。
小兔在河边喝水。
小鸟在家里等小兔。
今天下雪了，小狗在门口玩。
小兔看见小鱼，小鱼在河里游。
小猫问小鸟：你要不要吃米？
小鸟说：我要，你等我下来。
"""

ANIMALS_EN = """The cat sleeps under the tree.
The dog drinks from the river.
The bird sings in the tree.
The fish swims in the river.
The hare eats the green grass.
The cat looks at the fish.
The dog waits at the door.
The bird comes down from the tree.
The hare runs down the hill.
The fish waits for the cat.
The sun is out, and the cat wants to play.
The rain is here, and the dog sleeps at home.
The snow is here, and the bird stays at home.
The sun is out, and the hare runs up the hill.
The cat sees the bird, and the bird is gone.
The dog sees the hare, and the hare is gone.
The cat asks the fish: is the water cold?
The fish says: the water is warm, come in.
The cat says: I cannot swim, I wait here.
The dog asks the bird: is it good in the tree?
The bird says: it is good here, come up.
The dog says: I cannot fly, I wait here.
The hare asks the cat: is the hill cold?
The cat says: the hill is cold, stay here.
The wind is cold, and the hare stays at home.
The rain is cold, and the cat stays at home.
The sun is warm, and the dog runs up the hill.
The rain is warm, and the fish wants to play.
The cat waits at home for the dog.
The dog looks at the snow on the hill.
The bird eats at the door.
The hare waits under the tree for the bird.
The fish sees the bird, and the bird drinks.
The dog sees the cat, and the cat sleeps.
The hare asks the dog: can you swim?
The dog says: I can swim, come in.
The hare says: I cannot swim, I wait here.
The bird asks the fish: can you fly?
The fish says: I cannot fly, I can swim.
The bird says: I can fly, I cannot swim.
The sun is out, and the cat and the dog play.
The snow is here, and the hare sleeps at home.
The dog waits at the river for the fish.
The cat looks at the rain at the door.
The hare drinks from the river.
The bird waits at home for the hare.
The wind is warm, and the bird sings at the door.
The hare sees the fish, and the fish swims.
The cat asks the bird: can you sing?
The bird says: I can sing, wait for me.
"""

QUATRAINS = """白日依山尽，黄河入海流。
欲穷千里目，更上一层楼。
春眠不觉晓，处处闻啼鸟。
夜来风雨声，花落知多少。
空山不见人，但闻人语响。
返景入深林，复照青苔上。
红豆生南国，春来发几枝。
愿君多采撷，此物最相思。
千山鸟飞绝，万径人踪灭。
孤舟蓑笠翁，独钓寒江雪。
松下问童子，言师采药去。
只在此山中，云深不知处。
锄禾日当午，汗滴禾下土。
谁知盘中餐，粒粒皆辛苦。
独坐幽篁里，弹琴复长啸。
深林人不知，明月来相照。
人闲桂花落，夜静春山空。
月出惊山鸟，时鸣春涧中。
君自故乡来，应知故乡事。
来日绮窗前，寒梅著花未。
移舟泊烟渚，日暮客愁新。
野旷天低树，江清月近人。
向晚意不适，驱车登古原。
夕阳无限好，只是近黄昏。
绿蚁新醅酒，红泥小火炉。
晚来天欲雪，能饮一杯无。
日暮苍山远，天寒白屋贫。
柴门闻犬吠，风雪夜归人。
众鸟高飞尽，孤云独去闲。
相看两不厌，只有敬亭山。
江碧鸟逾白，山青花欲燃。
今春看又过，何日是归年。
解落三秋叶，能开二月花。
过江千尺浪，入竹万竿斜。
月黑雁飞高，单于夜遁逃。
欲将轻骑逐，大雪满弓刀。
苍苍竹林寺，杳杳钟声晚。
荷笠带斜阳，青山独归远。
山中相送罢，日暮掩柴扉。
春草明年绿，王孙归不归。
终南阴岭秀，积雪浮云端。
林表明霁色，城中增暮寒。
"""

SNOW = """Snow had come in the night, and nobody had heard it.
When I opened the door, the street was gone.
Only the lamp stood there, wearing a tall white hat.
A fox had crossed our garden and left a line of stitches.
My brother wanted to follow them to the end of the world.
We got as far as the bakery, where it smelled of cinnamon.
On the way home the wind had already rubbed the tracks out.
"""
